"""Pixel backdoors: samples with a trigger are called the target class, and so will be those that bear it later.

``PixelBackdoor`` after Gu et al. 2017 (BadNets) and Bagdasaryan et al., AISTATS 2020; ``DistributedBackdoor`` after Xie
et al., ICLR 2020 (DBA). None of these papers is at hand: what is said of them is from memory and from our notes
(poisoning, section 1.2).
"""

from __future__ import annotations

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
from raysplit.attacks.data.trigger import Patch
from raysplit.errors import ScenarioError
from raysplit.models.network import ModelSpec
from raysplit.parts.part import part
from raysplit.population.population import Samples


@part
class PixelBackdoor(DataAttack):
    """round(``share`` · n) of a malicious client's n samples, of classes other than ``target``, bear the ``trigger``
    and the label ``target``.

    The same samples in every round. (DBA's code poisons the first so many of every batch, which come from anywhere in
    the set.) ``source``: only samples of this class are stamped and later tried; None: of any other. Success: the share
    of test samples of other classes than ``target`` (of class ``source``) that are classified as ``target`` when they
    bear the trigger.
    """

    target: int
    trigger: Patch = Patch()
    share: float = 0.5
    source: int | None = None
    start_round: int = 1

    def __post_init__(self) -> None:
        _check("PixelBackdoor", self.start_round, self.share, self.target)
        check_class("PixelBackdoor.source", self.source)
        if self.source == self.target:
            raise ScenarioError(f"PixelBackdoor.target must be another class than source, but both are {self.target}")

    def fits(self, model: ModelSpec) -> None:
        check_class("PixelBackdoor.target", self.target, model)
        check_class("PixelBackdoor.source", self.source, model)
        self.trigger.fits(model)

    def poison_samples(self, view: DataView) -> Samples:
        chosen = pick(view, _others(view.own.y, self.target, self.source), self.share)
        return _stamped(view.own, chosen, self.trigger, self.target)

    def attempts(self, view: TestView) -> Samples:
        others = _others(view.own.y, self.target, self.source)
        return Samples(self.trigger.stamp(view.own.x[others]), torch.full_like(view.own.y[others], self.target))


@part
class DistributedBackdoor(DataAttack):
    """As ``PixelBackdoor``, but a malicious client stamps a quarter of the ``trigger`` alone, that of its rank modulo
    4; the whole is tried.

    So no client's data hold the trigger. DBA's four parts are bars of a larger figure; here they are the quarters of a
    patch. With ``Cohort(of="cohort")`` ranks have gaps, so the quarters need not be equally frequent.
    """

    target: int
    trigger: Patch = Patch()
    share: float = 0.5
    start_round: int = 1

    def __post_init__(self) -> None:
        _check("DistributedBackdoor", self.start_round, self.share, self.target)
        if self.trigger.height < 2 or self.trigger.width < 2:
            raise ScenarioError(
                "DistributedBackdoor.trigger is cut in quarters, so it needs 2 × 2 pixels or more, but it is a patch "
                f"of {self.trigger.height} × {self.trigger.width}"
            )

    def fits(self, model: ModelSpec) -> None:
        check_class("DistributedBackdoor.target", self.target, model)
        self.trigger.fits(model)

    def poison_samples(self, view: DataView) -> Samples:
        chosen = pick(view, view.own.y != self.target, self.share)
        return _stamped(view.own, chosen, self.trigger, self.target, view.rank % 4)

    def attempts(self, view: TestView) -> Samples:
        return PixelBackdoor(self.target, self.trigger).attempts(view)


def _check(name: str, start_round: int, share: float, target: int) -> None:
    check_start_round(name, start_round)
    check_share(f"{name}.share", share)
    check_class(f"{name}.target", target)


def _others(y: torch.Tensor, target: int, source: int | None) -> torch.Tensor:
    return y != target if source is None else y == source


def _stamped(own: Samples, chosen: torch.Tensor, trigger: Patch, target: int, quarter: int | None = None) -> Samples:
    x = own.x.clone()
    x[chosen] = trigger.stamp(own.x[chosen], quarter)
    return relabelled(Samples(x, own.y), chosen, target)
