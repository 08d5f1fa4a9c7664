"""DP-FedAvg: a mean of clipped updates with noise, divided by a public number (McMahan et al. 2018, arXiv 1710.06963,
algorithm 1; adaptive clipping: Andrew et al. 2021, arXiv 1905.03871, algorithm 1)."""

from __future__ import annotations

import math

import torch

from raysplit.aggregation.columns import combined
from raysplit.aggregation.geometry import Geometry, finite_or_infinite
from raysplit.aggregation.rule import Aggregate, AggregationRule, GeometryRule, RoundContext
from raysplit.aggregation.rules.clipping import clipping_to
from raysplit.aggregation.rules.mean import Mean
from raysplit.errors import ScenarioError
from raysplit.parts.part import part, within

_BOUND = "bound"
"""What the rule remembers under adaptive clipping: C of the next round, float64 [1]"""


@part
class DpFedAvg(GeometryRule):
    """AGR(U) = (Σ_i u_i min(1, C/‖u_i‖) + N(0, (zC)² I)) / W, with C = ``max_norm``, z = ``noise_multiplier`` and W =
    ``expected_cohort``, a public number: however many clients report, and whatever samples they have.

    ``quantile`` = γ: C follows the γ-quantile of the norms, from ``max_norm`` on: C ← C exp(−η(b − γ)) after each round,
    with η = ``clip_lr`` and b = ½ + (Σ_i (1[‖u_i‖ ≤ C] − ½) + N(0, σ_b²)) / W, where σ_b = ``count_noise`` (None: W/20).
    The count is a release of its own, whose sensitivity is ½. Rows that are not finite count as 0. ``max_norm=None``:
    the plain mean, bit for bit.

    As a scenario's ``defense`` it protects a client's whole set in (ε, ``delta``)-terms against other clients and whoever
    gets the model; the fed server sees updates as they are and is trusted. Client portions and server replicas that are
    both averaged need it on both sides. ``guarantee=False``: clip and add noise, claim nothing. ``budget``: the largest ε
    that any client may come to; the run ends before the round that would exceed it.

    Records ``bound`` (C) and ``clipped``, the number of rows that were scaled down.

    >>> import torch
    >>> from raysplit import DpFedAvg
    >>> updates = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0], [50.0, -50.0]])
    >>> DpFedAvg(max_norm=3.0, noise_multiplier=0.0, expected_cohort=5, guarantee=False)(updates)
    tensor([1.8485, 1.0000])
    """

    max_norm: float | None
    noise_multiplier: float
    expected_cohort: int
    delta: float = 1e-5
    quantile: float | None = None
    clip_lr: float = 0.2
    count_noise: float | None = None
    guarantee: bool = True
    budget: float | None = None

    def __post_init__(self) -> None:
        if self.max_norm is not None and not self.max_norm > 0:
            raise ScenarioError(
                f"DpFedAvg.max_norm must be above 0, or None for no clipping, but it is {self.max_norm}"
            )
        within("DpFedAvg.noise_multiplier", self.noise_multiplier, 0)
        within("DpFedAvg.expected_cohort", self.expected_cohort, 1)
        within("DpFedAvg.clip_lr", self.clip_lr, 0)
        if not 0 < self.delta < 1:
            raise ScenarioError(f"DpFedAvg.delta must lie between 0 and 1, but it is {self.delta}")
        if self.quantile is not None:
            within("DpFedAvg.quantile", self.quantile, 0, 1)
        if self.count_noise is not None:
            within("DpFedAvg.count_noise", self.count_noise, 0)
        if self.budget is not None and not self.budget > 0:
            raise ScenarioError(f"DpFedAvg.budget must be an ε above 0, or None for no end, but it is {self.budget}")
        if self.max_norm is None and (self.noise_multiplier or self.quantile is not None):
            raise ScenarioError(
                "DpFedAvg.noise_multiplier and quantile go by max_norm, but max_norm is None; give a norm, or leave them "
                "0 and None"
            )
        if self.guarantee and not self.multiplier:
            raise ScenarioError(
                "DpFedAvg without noise guarantees nothing; give a noise_multiplier (and count_noise above 0), or "
                "guarantee=False to train so all the same"
            )

    @property
    def acts(self) -> bool:
        """Whether anything is clipped: else it is the mean."""
        return self.max_norm is not None

    @property
    def multiplier(self) -> float:
        """Of a Gaussian mechanism of sensitivity 1 that tells as much: (z⁻² + (2σ_b)⁻²)^(−½) with the noised count, else
        z; 0 where either has no noise."""
        if self.quantile is None or not self.noise_multiplier:
            return self.noise_multiplier
        if not self.deviation_of_count:
            return 0.0
        return float((self.noise_multiplier**-2 + (2 * self.deviation_of_count) ** -2) ** -0.5)

    @property
    def deviation_of_count(self) -> float:
        """σ_b."""
        return self.expected_cohort / 20 if self.count_noise is None else self.count_noise

    def in_force(self, round: int) -> AggregationRule:
        return self if self.acts else Mean()

    def over(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        bound, norms = self._bound(context), finite_or_infinite(geometry.norms)
        total = combined(geometry.columns, clipping_to(norms, bound))
        return self._released(total, (norms <= bound).double() - 0.5, norms > bound, bound, context)

    def of_nobody(self, like: torch.Tensor, context: RoundContext) -> Aggregate:
        """The same of a round in which nobody was drawn, [d] as ``like``: noise alone. Without it the round would tell
        that nobody was."""
        nobody = torch.zeros(0, dtype=torch.float64)
        return self._released(torch.zeros_like(like), nobody, nobody, self._bound(context), context)

    def _bound(self, context: RoundContext) -> float:
        assert self.max_norm is not None  # in_force
        kept = context.memory.get(_BOUND)
        return self.max_norm if kept is None else float(kept[0])

    def _released(
        self,
        total: torch.Tensor,
        halves: torch.Tensor,
        clipped: torch.Tensor,
        bound: float,
        context: RoundContext,
    ) -> Aggregate:
        """``total``: Σ of the clipped rows, [d]. ``halves``: ½ for each row within the bound, −½ for each other."""
        if self.noise_multiplier:
            noise = context.rng.standard_normal(len(total)) * (self.noise_multiplier * bound)
            total = total + torch.from_numpy(noise).to(total)
        memory = {}
        if self.quantile is not None:
            count = float(halves.sum()) + float(context.rng.standard_normal()) * self.deviation_of_count
            share = 0.5 + count / self.expected_cohort
            following = bound * math.exp(-self.clip_lr * (share - self.quantile))
            memory = {_BOUND: torch.tensor([following], dtype=torch.float64)}
        record = {"bound": bound, "clipped": float(clipped.sum())}
        return Aggregate(total / self.expected_cohort, record, memory=memory)
