"""The directed-deviation attack on trimmed mean and median (Fang et al., USENIX Security 2020, section 4)."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch

from raysplit.aggregation.order_statistics import extremes, mean_std
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


@part
class Fang(UpdateAttack):
    """The malicious clients send values beyond the benign ones, against the sign s = sign(μ) of the honest mean, drawn
    apart.

    Full knowledge: where s_j > 0 each sends U[min_j/b, min_j] (U[b·min_j, min_j] if min_j ≤ 0), where s_j < 0
    U[max_j, b·max_j] (U[max_j, max_j/b] if max_j ≤ 0), with the benign extremes and b = ``spread`` > 1. Partial
    knowledge: U[μ - 4σ, μ - 3σ] and U[μ + 3σ, μ + 4σ], with μ, σ of its own honest updates. Where s_j = 0 it sends μ.

    With full knowledge, a trimmed mean that cuts as many as are malicious returns bit for bit what it returns under
    AgrTailored(perturbation="sign"). The NDSS'21 notebooks find it far weaker because they test ``deviation > 0`` in
    both branches, which leaves half of the coordinates at zero.

    >>> import torch
    >>> from raysplit import Fang
    >>> honest = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0]])
    >>> Fang()(honest, m=3).shape
    torch.Size([3, 2])
    """

    spread: float = 2.0
    knowledge: Literal["full", "partial"] = "full"
    start_round: int = 1
    shardable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_start_round("Fang", self.start_round)
        if not (1 < self.spread < math.inf):
            raise ScenarioError(f"Fang.spread must be above 1 and finite, but it is {self.spread}")

    @property
    def threat_model(self) -> ThreatModel:
        return updates_threat(self.knowledge)

    def poison(self, view: UpdateView) -> Poison:
        near, span = self._ends(visible_honest(view, self.knowledge, "Fang"))
        draws = view.across.uniform(view.rng, view.m, len(near))
        return Poison(draws.to(near).mul_(span).add_(near))

    def _ends(self, honest: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Where the interval begins on the side of the benign values, and how far it goes from there, [d] each."""
        mean, std = mean_std(honest)
        if self.knowledge == "full":
            near = torch.where(mean > 0, *extremes(honest))
            # Away from zero multiply, towards zero divide: both lie farther out on the wanted side.
            outward = (near > 0) != (mean > 0)
            far = torch.where(outward, near * self.spread, near / self.spread)
        else:
            near, far = mean - 3 * mean.sign() * std, mean - 4 * mean.sign() * std
        still = mean == 0
        return torch.where(still, mean, near), far.sub_(near).masked_fill_(still, 0)
