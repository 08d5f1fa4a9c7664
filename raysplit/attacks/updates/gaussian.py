"""Gaussian noise instead of updates (Blanchard et al., NeurIPS 2017, section 5)."""

from __future__ import annotations

import math
from typing import ClassVar

from raysplit.aggregation.update_attack import Poison, UpdateAttack, UpdateView, check_start_round, updates_threat
from raysplit.channels.channel import ThreatModel
from raysplit.errors import ScenarioError
from raysplit.parts.part import part


@part
class GaussianNoise(UpdateAttack):
    """Every malicious client sends a draw of its own from N(0, ``std``²·I_d); it needs to see nobody else's update.

    >>> import torch
    >>> from raysplit import GaussianNoise
    >>> honest = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0]])
    >>> GaussianNoise(std=2.0)(honest, m=3).shape
    torch.Size([3, 2])
    """

    std: float = 1.0
    start_round: int = 1
    shardable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_start_round("GaussianNoise", self.start_round)
        if not (0 < self.std < math.inf):
            raise ScenarioError(f"GaussianNoise.std must be above 0 and finite, but it is {self.std}")

    @property
    def threat_model(self) -> ThreatModel:
        return updates_threat("partial")

    def poison(self, view: UpdateView) -> Poison:
        noise = view.across.normal(view.rng, *view.own.shape)
        return Poison(noise.to(view.own).mul_(self.std))
