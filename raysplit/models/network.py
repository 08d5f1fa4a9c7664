"""Networks as ordered named stages, cut by name into head, body and tail.

A model *spec* is a part of the scenario: it says how to build the stages and which stage each of the paper's cut names
means. The network is always built whole, from one seed stream, and then cut: where it is cut never changes a weight.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from raysplit import rng
from raysplit.errors import ScenarioError, nearest
from raysplit.models.dropout import seed_dropout
from raysplit.models.outline import outline
from raysplit.models.probe import refuse_hidden_state
from raysplit.parts.contract import answer, contract


@contract("a model")
class ModelSpec:
    """What every model answers. A model spec is a frozen part that derives from it.

    ``input_shape``, ``classes`` and ``stages`` have no default.
    """

    @answer
    @abstractmethod
    def input_shape(self) -> tuple[int, int, int]:
        """A sample's [C, H, W]."""

    @answer
    @abstractmethod
    def classes(self) -> int:
        """How many classes it tells apart."""

    @abstractmethod
    def stages(self) -> list[tuple[str, nn.Module]]:
        """Fresh modules by name, in order, initialised from torch's current generator."""

    @answer
    def cut(self) -> str | None:
        """The last stage of the head, by its own name or a paper's; None: it is not to be cut."""
        return None

    @answer
    def tail(self) -> str | None:
        """The last stage before a U-shape's tail."""
        return None

    @answer
    def cuts(self) -> Mapping[str, str]:
        """The papers' cut names → the stage after which they cut."""
        return {}

    @answer
    def reads_bytes(self) -> bool:
        """Whether samples are packed graphs or texts, read number by number, and no images."""
        return False

    @answer
    def smashed_varies(self) -> bool:
        """Whether smashed data of two batches can differ in more than the number of samples."""
        return False


def build(spec: ModelSpec, seed: int, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """The whole network, initialised from the stream ``(seed, "model")``; convolutions in channels_last, dropout
    seeded.

    Raises ``ScenarioError`` where a layer draws random numbers or remembers in its own way (``probe.py``), or the
    network cannot take its ``input_shape``. channels_last took a fifth to a third off a training step of the FEMNIST
    network on the CPUs where it was measured.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.key(seed, "model") & ((1 << 63) - 1))
        network = nn.Sequential(OrderedDict(spec.stages()))
    seed_dropout(network)
    for module in network.modules():
        # A stage must not write into smashed data, which the other party still holds.
        if getattr(module, "inplace", False):
            setattr(module, "inplace", False)  # noqa: B010 - mypy knows modules' attributes as tensors
    refuse_hidden_state(network, type(spec).__name__, spec.input_shape)
    return network.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]


@dataclass(frozen=True)
class Portions:
    """One network cut for its parties: ``head`` and ``tail`` at the client, ``body`` at the server.

    Uncut (FedAvg, centralised): ``head`` is everything, ``body`` and ``tail`` are None.
    """

    head: nn.Sequential
    body: nn.Sequential | None = None
    tail: nn.Sequential | None = None

    @property
    def client(self) -> list[nn.Sequential]:
        return [self.head] if self.tail is None else [self.head, self.tail]

    @property
    def server(self) -> list[nn.Sequential]:
        return [] if self.body is None else [self.body]

    @property
    def in_order(self) -> list[nn.Sequential]:
        """As a sample passes them."""
        return [self.head, *self.server, *self.client[1:]]


def stage_names(spec: ModelSpec) -> list[str]:
    """The names of the stages in order, without allocating a parameter."""
    return [name for name, _ in outline(spec)]


def _stages_up_to(spec: ModelSpec, name: str, option: str) -> int:
    """How many stages there are up to and including the cut ``name``; ``name`` is a paper's or a stage's."""
    names = stage_names(spec)
    stage = spec.cuts.get(name, name)
    if stage not in names:
        raise ScenarioError(f"{type(spec).__name__} has no {option} {name!r}; {nearest(name, [*spec.cuts, *names])}")
    return names.index(stage) + 1


def check_cut(spec: ModelSpec, split: bool, u_shaped: bool) -> tuple[int, int]:
    """Where head and body end, in stages. Raises ``ScenarioError`` for a cut that is unknown or leaves a party empty.

    Uncut models are all head. A U-shape whose ``tail`` is the last stage has an empty tail (labels local, loss local).
    """
    kind = type(spec).__name__
    if not split:
        count = len(stage_names(spec))
        return count, count
    if spec.cut is None:
        choices = f"{', '.join(spec.cuts)} or a stage name" if spec.cuts else ", ".join(stage_names(spec)[:-1])
        raise ScenarioError(f"this protocol splits the model, so {kind} needs cut=…: {choices}")
    first = _stages_up_to(spec, spec.cut, "cut")
    last = len(stage_names(spec))
    if u_shaped:
        if spec.tail is None:
            raise ScenarioError(f"a U-shaped protocol needs {kind}(tail=…): the last stage before the client's tail")
        last = _stages_up_to(spec, spec.tail, "tail")
    if first >= last:
        tail = f", tail={spec.tail!r}" if u_shaped else ""
        raise ScenarioError(f"{kind}(cut={spec.cut!r}{tail}) leaves the server no stage; cut earlier")
    return first, last


def cut(network: nn.Sequential, spec: ModelSpec, split: bool, u_shaped: bool) -> Portions:
    """Cut a built network; the portions share its modules. Raises ``ScenarioError`` for a head or body without
    parameters, and for one that has some in common with another. Frozen parameters will do."""
    first, last = check_cut(spec, split, u_shaped)
    if not split:
        return Portions(head=network)
    stages = list(network.named_children())
    head, body = nn.Sequential(OrderedDict(stages[:first])), nn.Sequential(OrderedDict(stages[first:last]))
    for portion, party, way in ((head, "client", "later"), (body, "server", "earlier")):
        if next(portion.parameters(), None) is None:
            raise ScenarioError(
                f"{type(spec).__name__}(cut={spec.cut!r}) leaves the {party} no parameters to train; cut {way}"
            )
    portions = Portions(head, body, nn.Sequential(OrderedDict(stages[last:])) if u_shaped else None)
    _refuse_tied(spec, portions.in_order)
    return portions


def _refuse_tied(spec: ModelSpec, portions: list[nn.Sequential]) -> None:
    """Each party has its own portion, so a parameter that two of them share would be trained apart."""
    owner: dict[int, tuple[int, str]] = {}
    for number, portion in enumerate(portions):
        for name, parameter in portion.named_parameters():
            first, other = owner.setdefault(id(parameter), (number, name))
            if first != number and parameter.requires_grad:
                raise ScenarioError(
                    f"{type(spec).__name__}'s {other!r} and {name!r} are one parameter, but the cut {spec.cut!r} parts "
                    "them; cut elsewhere, or give each its own"
                )
