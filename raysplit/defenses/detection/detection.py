"""Detection: who watches whom. At the main server: what a detector is shown, what it answers, and what the server does.

Two places there. A ``Screen`` judges every split step before the server portion steps on it. A ``Rollback`` judges a client's
whole local round after its last split step, where clients come one after another. Both are frozen parts and pure
functions: what they must remember they return, and find again next time. That memory is part of the run's state and of
its checkpoints. Nobody tells them who is malicious. Clients that judge the main server: ``client_detector.py``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch

from raysplit.defenses.detection.client_detector import ClientDetector
from raysplit.errors import ScenarioError
from raysplit.memory.memory import State
from raysplit.parts.canonical import added_later
from raysplit.parts.contract import answer, contract
from raysplit.parts.part import part
from raysplit.protocols.requirements import (
    Requirement,
    as_written,
    labels_at_server,
    order_is,
    server_is,
    steps_at_once,
)


@dataclass(frozen=True)
class SplitStepView:
    """What the main server has of one split step, before it learns from it. Read it, do not write into it.

    ``round``: 1-based. ``client``: the client's id, which a server knows from whom it serves. ``step``: the batch's
    number in the client's round. ``smashed`` [B, …] as received. ``labels`` [B] and ``loss`` (nats, mean over the
    batch, at the portion before the step): None in a U-shape. ``gradients`` [B, …]: of the mean loss, per sample: ∂L/∂Z
    as the server computed it; in a U-shape ∂L/∂features as the client sent them, the only message there in which labels
    can be falsified. ``classes``: how many labels there are.
    """

    round: int
    client: int
    step: int
    smashed: torch.Tensor
    labels: torch.Tensor | None
    loss: float | None
    gradients: torch.Tensor
    classes: int


@dataclass(frozen=True)
class Verdict:
    """``accept``: whether the server portion takes this split step. ``memory``: what the screen finds at the next split
    step, of any client."""

    accept: bool
    memory: State = field(default_factory=dict)


@contract("a screen")
class Screen:
    """The contract of screens: a frozen part derives from it and judges split steps, in the planned order in which the
    server serves them."""

    @answer
    def needs_labels(self) -> bool:
        """Whether it asks for the labels or the loss, which the main server of a U-shape does not have."""
        return False

    @answer
    def requires(self) -> tuple[Requirement, ...]:
        if not self.needs_labels:
            return ()
        return (
            labels_at_server(
                "{component} needs the labels at the main server, but {protocol} is U-shaped; use another screen or "
                "u_shaped=False"
            ),
        )

    @abstractmethod
    def judge(self, view: SplitStepView, memory: Mapping[str, torch.Tensor]) -> Verdict:
        """``memory``: what the last verdict returned, empty at first. Tensors in it are never changed, only
        replaced."""


@dataclass(frozen=True)
class LocalRoundView:
    """The server portion ``before`` and ``after`` one client's split steps: its parameters (a layer's weight, a layer's
    bias, …) in their own shapes and in the network's order, without buffers. Read them, do not write into them."""

    round: int
    client: int
    before: tuple[torch.Tensor, ...]
    after: tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Judgement:
    """``undo``: 0 accepts the local round; 1 takes it back, to the portion with which it began; n > 1: it also takes
    back the n − 1 accepted local rounds before it. ``memory``: as ``Verdict.memory``.
    """

    undo: int
    memory: State = field(default_factory=dict)


@contract("a rollback")
class Rollback:
    """The contract of rollbacks: a frozen part derives from it and judges local rounds."""

    @answer
    @abstractmethod
    def window(self) -> int:
        """So many local rounds at most can be taken back, so many portions are kept."""

    @answer
    def requires(self) -> tuple[Requirement, ...]:
        return (
            order_is(
                "client_major",
                otherwise="{component} takes whole local rounds of clients back, but {protocol} has "
                "order={answers.order!r}; use one whose clients come one after another (client_major)",
            ),
        )

    @abstractmethod
    def judge(self, view: LocalRoundView, memory: Mapping[str, torch.Tensor]) -> Judgement:
        """``memory``: what the last judgement returned, empty at first. Tensors in it are never changed, only
        replaced."""


@part
class Detection:
    """Detectors at the main server of one shared server portion, which steps after every split step, and at clients.

    A split step that any of ``screens`` rejects teaches the server nothing: its portion, BatchNorm statistics included,
    and its optimiser stay as they are. A split step whose smashed data or gradients are not finite is rejected before
    any screen sees it. ``answer``: what the client gets back then, since a client that waits must get something:
    ``"gradients"``, those of the portion that did not step, so that it cannot tell and an honest client goes on
    learning; or ``"zeros"``. Client portions are not the main server's: what a rejected client sends to the fed server,
    or hands over, is for rules on updates.

    ``at_clients``: detectors at every client's end, which judge what the main server sends back, on their own and
    client by client. ``action``, where one of them finds an attack: ``"report"``, no more than that, or ``"stop"``: the
    client takes no step on this server's gradients any more, that one included; its messages go on, since the server
    waits for them. Raises ScenarioError where there is no detector.
    """

    screens: tuple[Screen, ...] = ()
    rollback: Rollback | None = None
    answer: Literal["gradients", "zeros"] = "gradients"
    at_clients: tuple[ClientDetector, ...] = added_later(())
    action: Literal["report", "stop"] = added_later("report")

    def __post_init__(self) -> None:
        if not self.at_server and not self.at_clients:
            raise ScenarioError(
                "Detection needs screens=(...), a rollback or at_clients=(...); leave Scenario.detection out for none"
            )

    @property
    def at_server(self) -> bool:
        """Whether a detector stands at the main server."""
        return bool(self.screens) or self.rollback is not None

    @property
    def requires(self) -> tuple[Requirement, ...]:
        """At the main server: one shared server portion that steps after every split step, and that many clients
        use."""
        if not self.at_server:
            return ()
        return (
            Requirement(
                lambda setting: (
                    setting.protocol.server != "none"
                    and setting.protocol.client_sync != "one_party"
                    and setting.protocol.topology.kind == "pair"
                ),
                "Scenario.detection stands at a main server that many clients share, but {protocol} has none; leave it "
                "out",
            ),
            server_is(
                "none",
                "shared",
                otherwise="Scenario.detection compares clients at one shared server portion, but {protocol} has a "
                "replica for each; leave it out, or use SplitFedV2",
            ),
            steps_at_once(
                "Scenario.detection needs a server that steps after every split step and waits for everybody, but "
                "{protocol} has server_step={answers.server_step!r} and synchrony={answers.synchrony!r}; leave it out"
            ),
            as_written("the published code of {protocol} detects nobody; leave Scenario.detection or as_published out"),
        )
