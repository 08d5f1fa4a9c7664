"""Trying an attack out against the rule in place before it is sent."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from raysplit import rng
from raysplit.across import ALL, Across
from raysplit.attacks.poisoning.poisoning import UpdateView, visible_honest
from raysplit.defenses.aggregation.aggregation import AggregationRule, RoundContext, roots_of
from raysplit.defenses.aggregation.order_statistics import mean_std
from raysplit.errors import ScenarioError


@dataclass(frozen=True)
class Rehearsal:
    """The cohort that the adversary reckons with: m clones in the first rows of ``stack``, [n, d], below them the honest rows it sees.

    Full knowledge: this very cohort, with what the rule is told of it, its memory and reference too (an upper bound). Partial knowledge: its own
    honest updates beside m' = max(1, ⌊m²/n⌋) clones, and their mean as the reference. All rows weigh the same, and a rule that draws at
    random draws the same in every rehearsal, but not what it will draw in earnest.
    """

    rule: AggregationRule
    stack: torch.Tensor
    m: int
    mean: torch.Tensor
    std: torch.Tensor
    context: RoundContext
    across: Across = ALL

    @staticmethod
    def of(view: UpdateView, knowledge: Literal["full", "partial"], attack: str) -> Rehearsal:
        """Raises ScenarioError as ``visible_honest`` does."""
        honest = visible_honest(view, knowledge, attack)
        mean, std = mean_std(honest)
        m = view.m if knowledge == "full" else max(1, view.m**2 // view.n)
        n = m + honest.shape[0]
        context = view.context or RoundContext(view.round, np.arange(n), m, m, view.rng)
        if knowledge == "partial":
            reference = mean if roots_of(view.rule) else None
            context = replace(context, clients=np.arange(n), declared=m, realised=m, reference=reference)
        return Rehearsal(view.rule, torch.cat([mean.expand(m, -1), honest]), m, mean, std, context, view.across)

    def damage(self, row: torch.Tensor) -> float:
        """‖AGR({row}^m ∪ honest) - μ‖₂ with μ the honest mean; ``row``: [d]. Raises ScenarioError where the rule cannot take the cohort."""
        self.stack[: self.m] = row
        n = len(self.stack)
        weights = torch.full((n,), 1 / n, dtype=self.stack.dtype)
        told = replace(self.context, rng=rng.stream(0, "rehearsal", self.context.round))
        try:
            update = self.rule.aggregate(self.stack, weights, told).update
        except ScenarioError as error:
            raise ScenarioError(
                f"{type(self.rule).__name__} cannot be rehearsed on the {n} updates that the adversary reckons with in round "
                f"{self.context.round}: {error}"
            ) from None
        return math.sqrt(self.across.square(update - self.mean))
