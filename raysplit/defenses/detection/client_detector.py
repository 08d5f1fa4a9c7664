"""Detection at a client: what its detector is shown of what comes back from the main server, and what it says of it.

A client sees what is its own, its batches and labels, its portion, and the cut gradients that it receives, and nothing
of other clients. A detector is a frozen part and a pure function: it gives each split step a score, near 1 where the
main server trains on the client's task and low where it teaches the client something else, and returns what it must
remember. That memory is the client's: it goes with it from round to round.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from raysplit.channels.channel import Channel
from raysplit.memory.memory import State
from raysplit.models.network import ModelSpec, check_cut
from raysplit.models.outline import outline
from raysplit.parts.contract import answer, contract
from raysplit.protocols.requirements import (
    Requirement,
    as_written,
    client_and_server,
    has_channel,
    server_step_is,
    synchrony_is,
)
from raysplit.training.settings import Training


@dataclass(frozen=True)
class OwnData:
    """What a client has before its first split step. ``x`` [n, …] as the network sees them, ``y`` int64 [n]: its
    training set. ``untrained``: the whole network, on the CPU, with fresh random weights that nobody else has.
    ``training``: as all parties know it. ``first``: which of the network's trainable parameters is
    ``AnsweredView.first_layer``'s. ``rng``: a stream of (seed, client, detector)."""

    client: int
    x: torch.Tensor
    y: torch.Tensor
    untrained: nn.Sequential
    training: Training
    first: int
    rng: np.random.Generator


@dataclass(frozen=True)
class BatchView:
    """A split step before it is taken. ``batch``: how many the client has taken, this one included, over all rounds.
    ``labels`` int64 [B]: of its batch. ``rng``: a stream of (seed, round, client, step, detector)."""

    round: int
    client: int
    step: int
    batch: int
    labels: torch.Tensor
    classes: int
    rng: np.random.Generator


@dataclass(frozen=True)
class AnsweredView:
    """A split step whose answer has come. Read it, do not write into it.

    ``labels`` int64 [B]: those with which the step was taken; ``fake``: whether they are not the batch's.
    ``cut_gradients`` [B, …]: ∂L/∂Z of the mean loss, per sample, as received. ``first_layer`` [d_1]: the gradient of
    the client portion's first weight (of more than one dimension) that follows from them. The rest as ``BatchView``.
    """

    round: int
    client: int
    step: int
    batch: int
    labels: torch.Tensor
    fake: bool
    cut_gradients: torch.Tensor
    first_layer: torch.Tensor
    classes: int
    rng: np.random.Generator


@dataclass(frozen=True)
class ClientVerdict:
    """``score``: of this split step, None where it says nothing yet. ``memory``: what the detector finds at the
    client's next split step."""

    score: float | None
    memory: State = field(default_factory=dict)


@contract("a client's detector")
class ClientDetector:
    """The contract: a frozen part derives from it and judges what comes back to a client.

    An attack is what it finds where the mean of a client's last ``window`` scores lies below ``threshold``; with fewer
    scores it finds none. What is not finite is shown to no detector.
    """

    @answer
    @abstractmethod
    def window(self) -> int:
        """Over how many of a client's last scores the mean is taken."""

    @answer
    @abstractmethod
    def threshold(self) -> float:
        """The mean below which the main server is taken for an attacker."""

    @answer
    def requires(self) -> tuple[Requirement, ...]:
        return AT_CLIENTS

    def least_samples(self, training: Training) -> int:
        """How many training samples a client must have for it; clients' sizes are known before training."""
        return 1

    def prepared(self, own: OwnData) -> State:
        """What it finds as ``memory`` at a client's first split step."""
        return {}

    def pretended(self, view: BatchView, memory: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        """Labels int64 [B] with which the client takes this split step in place of its own, as a test of the server;
        it learns nothing from what comes back. None: its own."""
        return None

    @abstractmethod
    def judge(self, view: AnsweredView, memory: Mapping[str, torch.Tensor]) -> ClientVerdict:
        """``memory``: what the last verdict on this client returned. Tensors in it are never changed, only replaced."""


def first_weight(model: ModelSpec, u_shaped: bool) -> int | None:
    """Which of a client portion's trainable parameters is its first weight, of more than one dimension; None where
    nothing like it is before the cut."""
    first, _ = check_cut(model, split=True, u_shaped=u_shaped)
    head = [parameter for _, stage in outline(model)[:first] for parameter in stage.parameters()]
    trainable = [parameter for parameter in head if parameter.requires_grad]
    return next((place for place, parameter in enumerate(trainable) if parameter.dim() > 1), None)


AT_CLIENTS = (
    client_and_server(
        "{component} stands at clients that have labels and each talk to one main server, but the parties of {protocol} "
        "form one site group; use a protocol such as SplitFedV2"
    ),
    has_channel(
        Channel.CUT_GRADIENTS,
        "{component} judges the cut gradients that come back to a client, but {protocol} has no such channel; leave it "
        "out of Detection.at_clients",
    ),
    server_step_is(
        "split_step",
        "step",
        "round",
        "server_first",
        otherwise="{component} compares a client's cut gradients with its own labels, but {protocol} sends all clients a "
        "mean of them; use a protocol such as SplitFedV2",
    ),
    synchrony_is(
        "synchronous",
        otherwise="{component} judges every split step of a client, but the server of {protocol} goes on with smashed "
        "data of earlier rounds; use another protocol, such as SplitFedV2",
    ),
    as_written("the published code of {protocol} detects nobody; leave {component} or as_published out"),
    Requirement(
        lambda setting: first_weight(setting.model, setting.protocol.u_shaped) is not None,
        "{component} goes by gradients of the client portion, but nothing before the cut of {model} trains; leave it "
        "out of Detection.at_clients",
    ),
)
"""What every detector at a client requires of its scenario."""
