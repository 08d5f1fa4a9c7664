"""The Min-Max attack (Shejwalkar & Houmansadr, NDSS 2021, section IV), in closed form."""

from __future__ import annotations

from typing import ClassVar, Literal

from raysplit.aggregation.gram import gram_over, squared_distances
from raysplit.aggregation.order_statistics import mean_std
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
class MinMax(UpdateAttack):
    """Every malicious client sends v = μ + γ·p with the largest γ for which v is no farther from any benign update b_i
    than two benign updates are from each other: max_i ‖v - b_i‖² ≤ R² = max_ij ‖b_i - b_j‖². It does not look at the
    rule.

    With a = ‖p‖², q_i = ⟨p, μ - b_i⟩ and c_i = ‖μ - b_i‖²:  γ = min_i (-q_i + √(q_i² - a(c_i - R²)))/a; 0 where p
    vanishes. ``perturbation``, ``direction``: p, see perturbation.py; μ and p of the honest updates that it sees.
    Records ``gamma``.

    >>> import torch
    >>> from raysplit import MinMax
    >>> honest = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0]])
    >>> MinMax()(honest, m=1)
    tensor([[1.4189, 1.4189]])
    """

    perturbation: Perturbation = "std"
    direction: Literal[-1, 1] = -1
    knowledge: Literal["full", "partial"] = "full"
    start_round: int = 1
    shardable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_start_round("MinMax", self.start_round)

    @property
    def threat_model(self) -> ThreatModel:
        return updates_threat(self.knowledge)

    def poison(self, view: UpdateView) -> Poison:
        honest = visible_honest(view, self.knowledge, "MinMax")
        mean, std = mean_std(honest)
        p = perturb(self.perturbation, self.direction, mean, std, view.across)
        gram = gram_over(view.across, honest, mean, p)
        benign, a = gram[:-1, :-1], float(gram[-1, -1])
        gamma = 0.0
        if a > 0:
            q, c, reach = -gram[:-1, -1], benign.diagonal(), squared_distances(benign).max()
            # c ≤ R² but for rounding, hence the 0: the mean itself is always allowed.
            roots = (-q + (q.square() - a * (c - reach)).clamp_min(0).sqrt()) / a
            gamma = max(0.0, float(roots.min()))
        return Poison((mean + gamma * p).expand(view.m, -1), {"gamma": gamma})
