"""Carrying out detection in a round: a hook at the main server's end that judges split steps and local rounds.

Where nothing is rejected and nothing taken back the shared server portion computes what it computes without it, bit
for bit.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from raysplit.channels.channel import Channel
from raysplit.channels.hooks import Layers, MessageHook, Ruling, Snapshot
from raysplit.channels.message import Message
from raysplit.defenses.detection.detection import Detection, Judgement, LocalRoundView, SplitStepView, Verdict
from raysplit.errors import ScenarioError
from raysplit.memory.memory import SERVER_DETECTION, Memory, State
from raysplit.protocols.outcome import DetectionRecord


class DetectionHook(MessageHook):
    """A scenario's detectors in one round. ``memory``: what they remember, ``{}`` at first."""

    party = "main_server"
    channels: frozenset[Channel] = frozenset()
    judges = True

    def __init__(self, detection: Detection, memory: State, classes: int) -> None:
        self._detection, self._classes = detection, classes
        self.judges_local_rounds = detection.rollback is not None
        self._memories = [_under(memory, f"screen/{number}/") for number in range(len(detection.screens))]
        self._local_rounds = _under(memory, "rollback/")
        self._kept = _kept(_under(memory, "kept/"))
        self._detected: dict[int, DetectionRecord] = {}

    def judge(self, step: Mapping[Channel, Message], reply: Message) -> Ruling:
        """The screens on a split step, and what the client gets where one of them rejects it."""
        record = self._detected.setdefault(reply.position, DetectionRecord())
        record.split_steps += 1
        if self._accepts(self._view(step, reply)):
            return Ruling(True, reply)
        record.rejected += 1
        if self._detection.answer == "gradients":
            return Ruling(False, reply)
        return Ruling(False, reply.reply(reply.channel, torch.zeros_like(reply.tensor), reply.score))

    def begin_portion(self, portion: Snapshot, layers: Layers) -> None:
        self._layers = layers
        if not self._kept:
            self._keep(portion)

    def roll_back(self, position: int, client: int, portion: Snapshot) -> Snapshot | None:
        rollback, record = self._detection.rollback, self._detected[position]
        assert rollback is not None
        view = LocalRoundView(portion.round, client, self._layers(self._kept[-1].vector), self._layers(portion.vector))
        judgement = rollback.judge(view, self._local_rounds)
        _check_kind(rollback, judgement, Judgement)
        self._local_rounds = dict(judgement.memory)
        if not 0 <= judgement.undo <= len(self._kept):
            raise ScenarioError(
                f"{type(rollback).__name__}.judge() takes {judgement.undo} turns back, but {len(self._kept)} portions "
                "are kept; its window bounds both"
            )
        record.undone = judgement.undo
        record.local_rounds += 1
        if judgement.undo == 0:
            self._keep(portion)
            return None
        del self._kept[len(self._kept) - judgement.undo + 1 :]
        return self._kept[-1]

    def memory(self) -> Memory:
        found = {
            f"screen/{i}/{name}": tensor for i, memory in enumerate(self._memories) for name, tensor in memory.items()
        }
        found.update({f"rollback/{name}": tensor for name, tensor in self._local_rounds.items()})
        for number, portion in enumerate(self._kept):
            found[f"kept/{number}/portion"] = portion.vector.cpu()
            found[f"kept/{number}/round"] = torch.tensor(portion.round)
            found.update({f"kept/{number}/state/{name}": tensor.cpu() for name, tensor in portion.state.items()})
        return {SERVER_DETECTION: found}

    def records(self) -> Mapping[str, Mapping[int, DetectionRecord]]:
        return {"detected": self._detected}

    def _view(self, step: Mapping[Channel, Message], reply: Message) -> SplitStepView:
        smashed = step[Channel.SMASHED]
        gradients = step.get(Channel.FEATURE_GRADIENTS, reply)
        loss = None if reply.score is None else reply.score.loss
        return SplitStepView(
            reply.round,
            reply.client,
            reply.step,
            smashed.tensor.detach(),
            smashed.labels,
            loss,
            gradients.tensor.detach(),
            self._classes,
        )

    def _accepts(self, view: SplitStepView) -> bool:
        """Every screen sees every split step that is made of numbers, so that what it remembers does not depend on its
        neighbours."""
        screens = self._detection.screens
        if screens and not bool(view.smashed.isfinite().all() and view.gradients.isfinite().all()):
            return False
        accepted = True
        for number, screen in enumerate(screens):
            verdict = screen.judge(view, self._memories[number])
            _check_kind(screen, verdict, Verdict)
            self._memories[number] = dict(verdict.memory)
            accepted = accepted and verdict.accept
        return accepted

    def _keep(self, portion: Snapshot) -> None:
        """A portion to which one can go back: after a local round that was not taken back, or before the first."""
        rollback = self._detection.rollback
        assert rollback is not None
        self._kept.append(portion)
        del self._kept[: -rollback.window]


def _check_kind(detector: object, answer: object, kind: type) -> None:
    """Raise ``ScenarioError`` where a detector answers anything but a ``kind``: what is no answer would count as yes."""
    if not isinstance(answer, kind):
        raise ScenarioError(
            f"{type(detector).__name__}.judge() must return a {kind.__name__}, but it returned {type(answer).__name__}"
        )


def _under(memory: State, prefix: str) -> State:
    return {name.removeprefix(prefix): tensor for name, tensor in memory.items() if name.startswith(prefix)}


def _kept(memory: State) -> list[Snapshot]:
    """The inverse of what ``DetectionHook.memory`` writes of the kept portions."""
    count = sum(name.endswith("/portion") for name in memory)
    return [
        Snapshot(memory[f"{n}/portion"].clone(), _under(memory, f"{n}/state/"), int(memory[f"{n}/round"]))
        for n in range(count)
    ]
