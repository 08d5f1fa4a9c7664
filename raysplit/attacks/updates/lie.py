"""A little is enough (Baruch, Baruch & Goldberg, NeurIPS 2019, algorithm 3)."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import ClassVar, Literal

from raysplit.aggregation.order_statistics import mean_std
from raysplit.aggregation.update_attack import (
    Poison,
    UpdateAttack,
    UpdateView,
    check_start_round,
    updates_threat,
    visible_honest,
)
from raysplit.channels.channel import ThreatModel
from raysplit.errors import ScenarioError
from raysplit.parts.part import part


def little_enough(n: int, m: int) -> float:
    """z = Φ⁻¹((n - m - s)/(n - m)) with s = ⌊n/2 + 1⌋ - m, the benign clients that must be outdone for a majority.

    ±∞ where no such z exists (m above half of n, or too few benign clients).
    """
    share = (n - m - (n // 2 + 1 - m)) / (n - m) if n > m else 1.0
    if share >= 1:
        return math.inf
    return NormalDist().inv_cdf(share) if share > 0 else -math.inf


@part
class LittleIsEnough(UpdateAttack):
    """Every malicious client sends v = μ + ``sign``·z·σ, a shift that hides in the benign spread.

    μ, σ (ddof 1): mean and standard deviation of the honest updates that it sees, [d]; ``z``: a number, or None for the
    paper's (``little_enough``; 0.286 for 20 of 100). ``sign`` -1 lowers updates; papers and libraries disagree on it.
    Records ``z``. Raises ScenarioError where the paper's z does not exist for this cohort.

    >>> import torch
    >>> from raysplit import LittleIsEnough
    >>> honest = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0]])
    >>> LittleIsEnough(z=1.0)(honest, m=1)
    tensor([[1.1835, 1.1835]])
    """

    z: float | None = None
    sign: Literal[-1, 1] = -1
    knowledge: Literal["full", "partial"] = "full"
    start_round: int = 1
    shardable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_start_round("LittleIsEnough", self.start_round)
        if self.z is not None and not (0 <= self.z < math.inf):
            raise ScenarioError(f"LittleIsEnough.z must be 0 or more and finite, but it is {self.z}: turn it with sign")

    @property
    def threat_model(self) -> ThreatModel:
        return updates_threat(self.knowledge)

    def poison(self, view: UpdateView) -> Poison:
        mean, std = mean_std(visible_honest(view, self.knowledge, "LittleIsEnough"))
        z = little_enough(view.n, view.m) if self.z is None else self.z
        if math.isinf(z):
            raise ScenarioError(
                f"LittleIsEnough finds no z for {view.m} malicious of {view.n} clients in round {view.round}: give z "
                "a number"
            )
        return Poison((mean + self.sign * z * std).expand(view.m, -1), {"z": z})
