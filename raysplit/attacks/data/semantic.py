"""Semantic backdoors: samples that have a property already are called the target class, and no pixel is touched.

Bagdasaryan et al., AISTATS 2020, section 4.1 ("cars with racing stripes"); from memory, not at hand.
"""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

import torch

from raysplit.aggregation.update_attack import check_start_round
from raysplit.attacks.data.data_attack import (
    DataAttack,
    DataView,
    TestView,
    check_class,
    check_share,
    pick,
    relabelled,
)
from raysplit.errors import ScenarioError
from raysplit.models.network import ModelSpec
from raysplit.parts.part import part, within
from raysplit.population.population import Samples

Set = Literal["train", "test"]


@runtime_checkable
class Property(Protocol):
    """A frozen dataclass that tells samples with a property from others."""

    def holds(self, samples: Samples, client: int, part: Set) -> torch.Tensor:
        """Which samples of a client's training or test set have it, bool [n]; ``samples`` are as stored, in the set's
        order."""
        ...


@part
class Brightness:
    """The mean of a sample's bytes, over 255, lies from ``low`` to ``high``. FEMNIST's background is 255, so bold
    writing is dark."""

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        within("Brightness.low", self.low, 0, 1)
        within("Brightness.high", self.high, self.low, 1)

    def holds(self, samples: Samples, client: int, part: Set) -> torch.Tensor:
        scale = 1.0 if samples.x.is_floating_point() else 255.0
        mean = samples.x.flatten(1).double().mean(1) / scale
        return (mean >= self.low) & (mean <= self.high)


@part
class OwnedBy:
    """All samples of these ``clients``, such as writers with a hand of their own: malicious clients need to be among
    them."""

    clients: tuple[int, ...]

    def holds(self, samples: Samples, client: int, part: Set) -> torch.Tensor:
        return torch.full_like(samples.y, client in self.clients, dtype=torch.bool)


@part
class ListedSamples:
    """Samples that somebody has looked at and listed: (client, place in its set), counted from 0, of training sets and
    of test sets."""

    train: tuple[tuple[int, int], ...]
    test: tuple[tuple[int, int], ...]

    def holds(self, samples: Samples, client: int, part: Set) -> torch.Tensor:
        listed = self.train if part == "train" else self.test
        found = torch.zeros_like(samples.y, dtype=torch.bool)
        for owner, place in listed:
            if owner != client:
                continue
            if not 0 <= place < len(found):
                raise ScenarioError(
                    f"ListedSamples.{part} names sample {place} of client {client}, but that has {len(found)}, "
                    "counted from 0"
                )
            found[place] = True
        return found


@part
class SemanticBackdoor(DataAttack):
    """``share`` of a malicious client's samples ``having`` a property (and are of class ``source``) get the label
    ``target``, rounded.

    Success: the share of test samples having it, of other classes than ``target`` (of class ``source``), that are
    classified as ``target``.
    """

    having: Property
    target: int
    source: int | None = None
    share: float = 1.0
    start_round: int = 1

    def __post_init__(self) -> None:
        check_start_round("SemanticBackdoor", self.start_round)
        check_share("SemanticBackdoor.share", self.share)
        check_class("SemanticBackdoor.target", self.target)
        check_class("SemanticBackdoor.source", self.source)
        if self.source == self.target:
            raise ScenarioError(
                f"SemanticBackdoor.target must be another class than source, but both are {self.target}"
            )

    def fits(self, model: ModelSpec) -> None:
        if model.reads_bytes and isinstance(self.having, Brightness):
            raise ScenarioError(
                f"Brightness is a property of images, but {type(model).__name__} reads packed graphs or texts; name "
                "samples by OwnedBy, ListedSamples or a property of your own"
            )
        check_class("SemanticBackdoor.target", self.target, model)
        check_class("SemanticBackdoor.source", self.source, model)

    def poison_samples(self, view: DataView) -> Samples:
        concerned = self._concerned(view.own, view.client, "train")
        return relabelled(view.own, pick(view, concerned, self.share, of=int(concerned.sum())), self.target)

    def attempts(self, view: TestView) -> Samples:
        concerned = self._concerned(view.own, view.client, "test")
        return Samples(view.own.x[concerned], torch.full_like(view.own.y[concerned], self.target))

    def _concerned(self, own: Samples, client: int, part: Set) -> torch.Tensor:
        others = own.y != self.target if self.source is None else own.y == self.source
        return self.having.holds(own, client, part) & others
