"""What a defence of messages is: what an honest party does so that its messages tell less of inputs or labels.

There are four places for it: smashed data before they leave a client, the gradient that leaves whoever has the labels,
the loss of a client, and the labels with which a client trains. A defence is a frozen part and a pure function of what
it is given; where it draws, it draws from the stream that it is handed.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.parts.contract import answer, contract
from raysplit.protocols.requirements import (
    Requirement,
    batch_of,
    client_and_server,
    has_channel,
    server_step_is,
    synchrony_is,
)


@dataclass(frozen=True)
class DefenseView:
    """What a defence knows beside the tensor that it protects. ``classes``: of the model. ``draw``: a stream of this
    (defence, round, client, step), on the CPU. ``labels`` int64 [B]: the batch's, where the party has them, else None.
    ``in_training``: False where the model is evaluated or in use."""

    classes: int
    draw: torch.Generator
    labels: torch.Tensor | None = None
    in_training: bool = True


@contract("a defence of messages")
class MessageDefense:
    """What all of them answer. A part of one's own derives from one of the four below, which say what it acts on."""

    @answer
    def mixes_samples(self) -> bool:
        """Whether what it makes of one sample depends on the other samples of the batch."""
        return False

    @answer
    def requires(self) -> Iterable[Requirement]:
        """What must hold of a scenario with it."""
        return ()


@contract("a defence of smashed data")
class SmashedDefense(MessageDefense):
    """The contract: a frozen part derives from it and gives ``sent``.

    ``sent`` runs within autograd at the client's end, in training as in use. The client portion learns by what comes
    back through it: ∂L/∂z = Jᵀ · ∂L/∂z′, J the Jacobian of ``sent`` as autograd has it. Straight-through is written
    ``made + (z - z.detach())``, whose value is that of ``made``.
    """

    @answer
    def requires(self) -> Iterable[Requirement]:
        return ON_SMASHED

    def sample_bytes(self, floats: int, float_bytes: int) -> int | None:
        """Of one sample's smashed data as they cross the channel, from how many floats they are and the bytes of one;
        None: dense, ``floats · float_bytes``."""
        return None

    @abstractmethod
    def sent(self, z: torch.Tensor, view: DefenseView) -> torch.Tensor:
        """z′ [B, …], which goes on in place of z [B, …]: of the same shape and type, differentiable in z. It must not
        write into z. B may be 0."""


@contract("a defence of gradients")
class GradientDefense(MessageDefense):
    """The contract: a frozen part derives from it and gives ``sent``. It stands where a gradient leaves the party that
    has the labels: at the main server on ``cut_gradients``, or, U-shaped, at the client on ``feature_gradients``."""

    @answer
    def mixes_samples(self) -> bool:
        return True

    @answer
    def requires(self) -> Iterable[Requirement]:
        return ON_GRADIENTS

    @abstractmethod
    def sent(self, gradients: torch.Tensor, view: DefenseView) -> torch.Tensor:
        """What goes on in place of ∂L/∂z [B, …] of the batch's mean loss, row i of sample i: of the same shape and type.
        ``view.labels`` are there. It must not write into ``gradients``. B may be 0."""


@contract("a term of a client's loss")
class LossDefense(MessageDefense):
    """The contract: a frozen part derives from it and gives ``term``."""

    @answer
    def mixes_samples(self) -> bool:
        return True

    @answer
    def requires(self) -> Iterable[Requirement]:
        return ON_LOSS

    @abstractmethod
    def term(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """What a client adds to its loss on a batch: a scalar, differentiable in its smashed data z [B, …]. x [B, …]:
        the batch as the network sees it."""


@contract("a defence of labels")
class LabelDefense(MessageDefense):
    """The contract: a frozen part derives from it and gives ``released``, once a client for a whole run."""

    @abstractmethod
    def released(self, labels: torch.Tensor, view: DefenseView) -> torch.Tensor:
        """With which labels int64 [n] a client trains in place of its own, in all rounds the same. Test labels stay."""


ON_SMASHED = (
    client_and_server(
        "{component} stands at clients that each talk to one main server, but the parties of {protocol} form one site "
        "group; use a protocol such as SplitFedV2"
    ),
    has_channel(
        Channel.SMASHED,
        "{component} protects smashed data, but {protocol} has no such channel; leave it out of message_defenses",
    ),
    synchrony_is(
        "synchronous",
        "buffered",
        otherwise="{component} protects smashed data as they are sent, but the server of {protocol} goes on with some that "
        "it kept from earlier rounds; use another protocol, such as SplitFedV2",
    ),
)
ON_GRADIENTS = (
    client_and_server(
        "{component} stands where the labels of each client are, but the parties of {protocol} form one site group; use "
        "a protocol such as SplitFedV2"
    ),
    has_channel(
        Channel.SMASHED,
        "{component} protects gradients on their way between client and server, but {protocol} has no main server; "
        "leave it out of message_defenses",
    ),
    server_step_is(
        "split_step",
        "step",
        "round",
        "server_first",
        otherwise="{component} goes by the labels of a batch, but the server of {protocol} answers with gradients that "
        "are means over clients; use a protocol such as SplitFedV2",
    ),
)
ON_LOSS = (
    client_and_server(
        "{component} is part of the loss of clients that each talk to one main server, but the parties of {protocol} "
        "form one site group; use a protocol such as SplitFedV2"
    ),
    has_channel(
        Channel.SMASHED,
        "{component} keeps smashed data from telling of inputs, but {protocol} has none; leave it out of "
        "message_defenses",
    ),
    batch_of(
        2,
        "{component} goes by how samples of a batch differ, but Training.batch_size is 1; give two or more, better 32",
    ),
)

Defenses = Sequence[MessageDefense]
"""``Scenario.message_defenses``. The place of one in it names its random streams."""


def of_smashed(defenses: Defenses) -> list[tuple[int, SmashedDefense]]:
    """Those of smashed data, each with its place among all."""
    return [(place, defense) for place, defense in enumerate(defenses) if isinstance(defense, SmashedDefense)]


def of_gradients(defenses: Defenses) -> list[tuple[int, GradientDefense]]:
    """Those of gradients."""
    return [(place, defense) for place, defense in enumerate(defenses) if isinstance(defense, GradientDefense)]


def of_losses(defenses: Defenses) -> list[LossDefense]:
    """The terms of a client's loss; they draw nothing."""
    return [defense for defense in defenses if isinstance(defense, LossDefense)]


def of_labels(defenses: Defenses) -> list[tuple[int, LabelDefense]]:
    """Those of labels."""
    return [(place, defense) for place, defense in enumerate(defenses) if isinstance(defense, LabelDefense)]


def checked(defense: MessageDefense, method: str, old: torch.Tensor, new: object) -> torch.Tensor:
    """``new``, or ``ScenarioError`` where a defence gives back something of another kind than it was given."""
    name = f"{type(defense).__name__}.{method}()"
    if not isinstance(new, torch.Tensor):
        raise ScenarioError(f"{name} must return a tensor, but it returned {type(new).__name__}")
    if new.shape != old.shape or new.dtype != old.dtype:
        raise ScenarioError(
            f"{name} must return a tensor like the one it got, {tuple(old.shape)} of {old.dtype}, but it returned "
            f"{tuple(new.shape)} of {new.dtype}"
        )
    return new


def laid_out(new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    """``new`` without a graph and with the strides of ``old``, by which kernels choose their order of summation."""
    return torch.empty_like(old).copy_(new.detach())
