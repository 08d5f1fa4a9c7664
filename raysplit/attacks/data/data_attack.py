"""What a poisoning of training data is: what a malicious client trains on instead of its own samples, and what it hopes
for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from raysplit.aggregation.attack import Attack
from raysplit.channels.channel import ThreatModel
from raysplit.errors import ScenarioError
from raysplit.models.network import ModelSpec
from raysplit.parts.contract import answer, contract
from raysplit.population.population import Samples

DATA_THREAT = ThreatModel(frozenset(), frozenset(), "partial", own_data=True)
"""An adversary that holds its clients' own training data, and no channel."""


@dataclass(frozen=True)
class DataView:
    """What one malicious client has when it begins a round.

    ``own``: its training set as stored, x uint8 or float32 [n, C, H, W], y int64 [n]; not to be written into. ``rank``:
    its place in the fixed ranking of the population by which clients become malicious; with ``Cohort(of="population")``
    0, 1, 2 … without gaps. ``round``: the one in which it draws its batches, 1-based. ``classes``: of the population.
    ``rng``: a stream of this client and this attack, **the same in every round**: a set is poisoned once and stays so
    (Gu et al.; Tolpegin et al.), though a host makes it anew. ``forward``: what the client portion that it holds makes
    of stored samples, [k, …] for k samples: logits where it is the whole model (``whole``), smashed data where the
    model is cut. None where it is unknown (offline).
    """

    own: Samples
    client: int
    rank: int
    round: int
    classes: int
    rng: np.random.Generator
    forward: Callable[[torch.Tensor], torch.Tensor] | None = None
    whole: bool = False


@dataclass(frozen=True)
class TestView:
    """The test set of one evaluation client, for ``attempts``: as ``DataView``; ``rng`` is the same at every
    evaluation."""

    own: Samples
    client: int
    classes: int
    rng: np.random.Generator

    __test__ = False  # for pytest, which takes its name for a test's


@contract("an attack on training data", also=("attempts",))
class DataAttack(Attack):
    """The contract of attacks on training data: a frozen part derives from it and gives ``poison_samples``, which is
    pure: it changes none of its arguments and keeps nothing.

    One that means to be measured has ``attempts`` too (``MeasuredAttack``). One that cannot be carried out on every
    model has ``fits(model)``, which raises ``ScenarioError``.
    """

    @answer
    def threat_model(self) -> ThreatModel:
        return DATA_THREAT

    @abstractmethod
    def poison_samples(self, view: DataView) -> Samples:
        """What the client trains on: as many samples, of the same shape and type."""


@runtime_checkable
class MeasuredAttack(Protocol):
    """An attack with a goal that can be tried on test samples."""

    def attempts(self, view: TestView) -> Samples:
        """The samples with which the attack's success is measured, as it would present them, and the classes that it
        wants: k ≥ 0."""
        ...


@runtime_checkable
class MeasuredAtCut(MeasuredAttack, Protocol):
    """One that is tried at the cut: the samples go through the client portion, and what comes out is changed before the
    server sees it."""

    def triggered(self, z: torch.Tensor) -> torch.Tensor:
        """What a malicious client sends of a batch of its own smashed data, [B, …], to be answered as it wants."""
        ...


def pick(view: DataView, candidates: torch.Tensor, share: float, of: int | None = None) -> torch.Tensor:
    """Which samples are poisoned, int64 ascending: round(``share`` · ``of``) of those with ``candidates``, bool [n];
    all where they are fewer.

    ``of``: the number that the share is of; None: n, the client's whole set.
    """
    places = np.flatnonzero(candidates.numpy())
    count = min(round(share * (len(view.own.y) if of is None else of)), len(places))
    return torch.from_numpy(np.sort(view.rng.permutation(places)[:count]))


def relabelled(own: Samples, chosen: torch.Tensor, label: int | torch.Tensor) -> Samples:
    """``own`` with other labels where ``chosen``, int64 indices."""
    y = own.y.clone()
    y[chosen] = label if isinstance(label, torch.Tensor) else torch.full((len(chosen),), label)
    return Samples(own.x, y)


def check_class(name: str, label: int | None, model: ModelSpec | None = None) -> None:
    """Raise ``ScenarioError`` unless ``label`` is a class (of ``model``); None passes."""
    if label is None:
        return
    if label < 0:
        raise ScenarioError(f"{name} is a class, counted from 0, but it is {label}")
    if model is not None and label >= model.classes:
        raise ScenarioError(
            f"{name} is {label}, but {type(model).__name__} tells {model.classes} classes apart, counted from 0; "
            f"choose at most {model.classes - 1}"
        )


def check_share(name: str, share: float) -> None:
    """Raise ``ScenarioError`` unless 0 < ``share`` ≤ 1."""
    if not 0 < share <= 1:
        raise ScenarioError(f"{name} is a share and must be above 0 and at most 1, but it is {share!r}")
