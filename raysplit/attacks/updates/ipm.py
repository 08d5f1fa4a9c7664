"""Inner-product manipulation (Xie, Koyejo & Gupta, UAI 2019)."""

from __future__ import annotations

import math
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


@part
class InnerProductManipulation(UpdateAttack):
    """Every malicious client sends v = -ε·μ, so that the aggregate may have a negative inner product with the mean μ.

    μ: mean of the honest updates that it sees, [d]; ``epsilon`` ε > 0. It means something for updates, not for whole
    weights.

    >>> import torch
    >>> from raysplit import InnerProductManipulation
    >>> honest = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0]])
    >>> InnerProductManipulation(epsilon=0.5)(honest, m=2)
    tensor([[-1., -1.],
            [-1., -1.]])
    """

    epsilon: float = 0.1
    knowledge: Literal["full", "partial"] = "full"
    start_round: int = 1
    shardable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_start_round("InnerProductManipulation", self.start_round)
        if not (0 < self.epsilon < math.inf):
            raise ScenarioError(
                f"InnerProductManipulation.epsilon must be above 0 and finite, but it is {self.epsilon}"
            )

    @property
    def threat_model(self) -> ThreatModel:
        return updates_threat(self.knowledge)

    def poison(self, view: UpdateView) -> Poison:
        mean, _ = mean_std(visible_honest(view, self.knowledge, "InnerProductManipulation"))
        return Poison((-self.epsilon * mean).expand(view.m, -1))
