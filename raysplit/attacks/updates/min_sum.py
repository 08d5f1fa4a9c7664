"""The Min-Sum attack (Shejwalkar & Houmansadr, NDSS 2021, section IV), in closed form."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch

from raysplit.aggregation.order_statistics import column_blocks, mean_std
from raysplit.aggregation.update_attack import (
    Poison,
    UpdateAttack,
    UpdateView,
    check_start_round,
    updates_threat,
    visible_honest,
)
from raysplit.attacks.updates.perturbation import Perturbation, perturb
from raysplit.channels.channel import ThreatModel
from raysplit.parts.part import part


@part
class MinSum(UpdateAttack):
    """Every malicious client sends v = μ + γ·p with the largest γ for which the sum of its squared distances to the
    benign updates b_i stays within a benign one's: Σ_i ‖v - b_i‖² ≤ S. It does not look at the rule.

    ``bound``: S = max_i Σ_j ‖b_i - b_j‖² (``"max"``, the paper) or min_i (``"min"``, the released code). As the sums
    are n_b·‖μ - b_i‖² + Σ_j ‖μ - b_j‖², γ = ‖μ - b_i*‖/‖p‖ for the farthest or nearest row b_i*; 0 where p vanishes.
    ``perturbation``, ``direction``: p, see perturbation.py; μ and p of the honest updates that it sees. Records
    ``gamma``.

    >>> import torch
    >>> from raysplit import MinSum
    >>> honest = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0]])
    >>> MinSum()(honest, m=1)
    tensor([[1., 1.]])
    """

    perturbation: Perturbation = "std"
    direction: Literal[-1, 1] = -1
    bound: Literal["max", "min"] = "max"
    knowledge: Literal["full", "partial"] = "full"
    start_round: int = 1
    shardable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_start_round("MinSum", self.start_round)

    @property
    def threat_model(self) -> ThreatModel:
        return updates_threat(self.knowledge)

    def poison(self, view: UpdateView) -> Poison:
        honest = visible_honest(view, self.knowledge, "MinSum")
        mean, std = mean_std(honest)
        p = perturb(self.perturbation, self.direction, mean, std, view.across)
        a = view.across.square(p)
        gamma = 0.0
        if a > 0:
            spread = view.across.sum(len(mean), lambda s: squares_from(honest[:, s], mean[s]))
            gamma = math.sqrt(float(spread.max() if self.bound == "max" else spread.min()) / a)
        return Poison((mean + gamma * p).expand(view.m, -1), {"gamma": gamma})


def squares_from(rows: torch.Tensor, centre: torch.Tensor) -> torch.Tensor:
    """‖row - centre‖² of each row, float64 [n]."""
    squares = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for columns in column_blocks(rows, narrow=True):
        apart = rows[:, columns] - centre[columns]
        squares += torch.linalg.vector_norm(apart, dim=1, dtype=torch.float64).square_()
    return squares
