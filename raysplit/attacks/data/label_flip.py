"""Label flipping: the samples stay, their labels do not (Tolpegin et al., ESORICS 2020, and others; from memory, not at
hand).

Of public code: y → C − 1 − y is Blades', source → target FLPoison's (our notes on poisoning, section 1.2).
"""

from __future__ import annotations

from typing import Literal

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
from raysplit.parts.part import part
from raysplit.population.population import Samples


@part
class LabelFlip(DataAttack):
    """Untargeted: round(``share`` · n) of a malicious client's n samples get another label, the same one in every
    round.

    ``to="opposite"``: C − 1 − y of C classes; with an odd C the middle class keeps its label. ``to="random"``: any
    class but the true one, all alike. No success rate: what it lowers is the accuracy.
    """

    to: Literal["opposite", "random"] = "opposite"
    share: float = 1.0
    start_round: int = 1

    def __post_init__(self) -> None:
        check_start_round("LabelFlip", self.start_round)
        check_share("LabelFlip.share", self.share)

    def poison_samples(self, view: DataView) -> Samples:
        y = view.own.y
        chosen = pick(view, torch.ones_like(y, dtype=torch.bool), self.share)
        if self.to == "opposite":
            return relabelled(view.own, chosen, view.classes - 1 - y[chosen])
        steps = torch.from_numpy(view.rng.integers(1, view.classes, len(chosen)))
        return relabelled(view.own, chosen, (y[chosen] + steps) % view.classes)


@part
class TargetedLabelFlip(DataAttack):
    """Samples of class ``source`` are called ``target``: ``share`` of a malicious client's samples of that class,
    rounded.

    Success: the share of test samples of class ``source`` that are classified as ``target``.
    """

    source: int
    target: int
    share: float = 1.0
    start_round: int = 1

    def __post_init__(self) -> None:
        check_start_round("TargetedLabelFlip", self.start_round)
        check_share("TargetedLabelFlip.share", self.share)
        check_class("TargetedLabelFlip.source", self.source)
        check_class("TargetedLabelFlip.target", self.target)
        if self.source == self.target:
            raise ScenarioError(
                f"TargetedLabelFlip.target must be another class than source, but both are {self.source}"
            )

    def fits(self, model: ModelSpec) -> None:
        check_class("TargetedLabelFlip.source", self.source, model)
        check_class("TargetedLabelFlip.target", self.target, model)

    def poison_samples(self, view: DataView) -> Samples:
        of_source = view.own.y == self.source
        return relabelled(view.own, pick(view, of_source, self.share, of=int(of_source.sum())), self.target)

    def attempts(self, view: TestView) -> Samples:
        of_source = view.own.y == self.source
        return Samples(view.own.x[of_source], torch.full_like(view.own.y[of_source], self.target))
