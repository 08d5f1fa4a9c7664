"""Carrying out detection at clients in a round: a hook at their end that may pretend labels and judges what comes back.

Where no detector pretends and none stops a client, clients compute what they compute without it, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch

from raysplit import rng
from raysplit.channels.channel import Channel, Party
from raysplit.channels.hooks import AnsweredStep, MessageHook
from raysplit.channels.message import StepAddress
from raysplit.defenses.detection.client_detector import (
    AnsweredView,
    BatchView,
    ClientDetector,
    ClientVerdict,
    OwnData,
)
from raysplit.defenses.detection.detection import Detection
from raysplit.errors import ScenarioError
from raysplit.memory.memory import CLIENT_DETECTION, Memory, State, by_client, client_path
from raysplit.protocols.outcome import ClientScore

Own = Callable[[int, np.random.Generator], OwnData]
"""A client's id and a stream for its detector → what the client has."""


class Clients(NamedTuple):
    """What the detectors know of all clients. ``first``: the place of the first weight among the portion's trainable
    parameters."""

    seed: int
    round: int
    classes: int
    first: int
    own: Own


class ClientDetectionHook(MessageHook):
    """A scenario's detectors at its clients in one round. ``memory``: of the clients that are played here.

    Of each client it keeps ``batches``, how many split steps it has taken, ``stopped``, and of every detector its
    memory and the last scores.
    """

    party: Party = "clients"
    channels: frozenset[Channel] = frozenset()
    judges_answers = True

    def __init__(self, detection: Detection, clients: Clients, memory: Mapping[str, State]) -> None:
        self._detection, self._clients = detection, clients
        self._kept: dict[int, State] = {client: dict(s) for client, s in by_client(memory, CLIENT_DETECTION).items()}
        self._touched: set[int] = set()
        self._fake: dict[int, bool] = {}
        self._scores: dict[tuple[int, int, int], ClientScore] = {}

    def pretended(self, address: StepAddress, labels: torch.Tensor) -> torch.Tensor:
        """The first detector that wants other labels gets them."""
        kept = self._of(address.client)
        self._fake[address.client] = False
        if kept["stopped"]:
            return labels
        for number, detector in enumerate(self._detection.at_clients):
            batch = int(kept["batches"]) + 1
            view = BatchView(
                address.round,
                address.client,
                address.step,
                batch,
                labels,
                self._clients.classes,
                self._stream("pretend labels", address, number),
            )
            wanted = detector.pretended(view, _under(kept, f"{number}/memory/"))
            if wanted is not None:
                self._fake[address.client] = True
                return _checked(detector, wanted, labels, self._clients.classes)
        return labels

    def judge_answer(self, step: AnsweredStep) -> bool:
        client = step.address.client
        kept = self._of(client)
        if kept["stopped"]:
            return False
        kept["batches"] = kept["batches"] + 1
        fake, found = self._fake[client], False
        gradient = step.gradients[self._clients.first]
        if gradient is not None and bool(step.cut_gradients.isfinite().all() and gradient.isfinite().all()):
            first_layer = gradient.detach().flatten()
            for number in range(len(self._detection.at_clients)):
                found = self._judge(number, step, first_layer, fake, kept) or found
        if found and self._detection.action == "stop":
            kept["stopped"] = torch.tensor(True)
        return not (fake or bool(kept["stopped"]))

    def memory(self) -> Memory:
        return {client_path(client, CLIENT_DETECTION): self._kept[client] for client in sorted(self._touched)}

    def records(self) -> Mapping[str, Mapping[tuple[int, int, int], ClientScore]]:
        return {"client_scores": self._scores}

    def _judge(self, number: int, step: AnsweredStep, first_layer: torch.Tensor, fake: bool, kept: State) -> bool:
        """One detector on one answer: whether it finds an attack."""
        address, detector = step.address, self._detection.at_clients[number]
        batch = int(kept["batches"])
        view = AnsweredView(
            address.round,
            address.client,
            address.step,
            batch,
            step.labels,
            fake,
            step.cut_gradients.detach(),
            first_layer,
            self._clients.classes,
            self._stream("judge answers", address, number),
        )
        verdict = detector.judge(view, _under(kept, f"{number}/memory/"))
        if not isinstance(verdict, ClientVerdict):
            raise ScenarioError(
                f"{type(detector).__name__}.judge() must return a ClientVerdict, but it returned "
                f"{type(verdict).__name__}"
            )
        _replace(kept, f"{number}/memory/", verdict.memory)
        if verdict.score is None:
            return False
        last = torch.cat([kept[f"{number}/scores"], torch.tensor([verdict.score], dtype=torch.float64)])
        last = kept[f"{number}/scores"] = last[-detector.window :]
        mean = float(last.mean()) if len(last) == detector.window else None
        attack = mean is not None and mean < detector.threshold
        key = (address.position, address.step, number)
        self._scores[key] = ClientScore(
            address.client, type(detector).__name__, address.step, batch, verdict.score, mean, attack
        )
        return attack

    def _of(self, client: int) -> State:
        """What is kept of a client; before its first split step its detectors get ready."""
        self._touched.add(client)
        if client not in self._kept:
            kept: State = {"batches": torch.tensor(0), "stopped": torch.tensor(False)}
            for number, detector in enumerate(self._detection.at_clients):
                kept[f"{number}/scores"] = torch.zeros(0, dtype=torch.float64)
                if type(detector).prepared is not ClientDetector.prepared:
                    stream = rng.stream(self._clients.seed, "detector at client", client, number)
                    own = self._clients.own(client, stream)
                    _replace(kept, f"{number}/memory/", detector.prepared(own))
            self._kept[client] = kept
        return self._kept[client]

    def _stream(self, purpose: str, address: StepAddress, number: int) -> np.random.Generator:
        return rng.stream(self._clients.seed, purpose, address.round, address.client, address.step, number)


def _under(kept: State, prefix: str) -> State:
    return {name.removeprefix(prefix): tensor for name, tensor in kept.items() if name.startswith(prefix)}


def _replace(kept: State, prefix: str, state: State) -> None:
    for name in [name for name in kept if name.startswith(prefix)]:
        del kept[name]
    kept.update({f"{prefix}{name}": tensor for name, tensor in state.items()})


def _checked(detector: ClientDetector, wanted: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Raise ``ScenarioError`` where what a detector pretends are no labels of this batch."""
    if (
        wanted.shape != labels.shape
        or wanted.dtype != labels.dtype
        or (len(wanted) and not bool(((wanted >= 0) & (wanted < classes)).all()))
    ):
        raise ScenarioError(
            f"{type(detector).__name__}.pretended() must return {len(labels)} labels from 0 to {classes - 1}, int64, or "
            f"None for the batch's own, but it returned {tuple(wanted.shape)} of {wanted.dtype}"
        )
    return wanted if wanted is not labels else labels.clone()
