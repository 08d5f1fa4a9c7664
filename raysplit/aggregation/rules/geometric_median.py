"""Geometric median by the smoothed Weiszfeld iteration (Pillutla et al. 2022, RFA, algorithm 2)."""

from __future__ import annotations

from typing import Literal

import torch

from raysplit.aggregation.columns import combined
from raysplit.aggregation.geometry import Geometry, distances_to, without_lost
from raysplit.aggregation.rule import Aggregate, GeometryRule, RoundContext
from raysplit.errors import ScenarioError
from raysplit.parts.part import part, within


@part
class GeometricMedian(GeometryRule):
    """AGR(U) ≈ argmin_z Σ_i w_i ‖u_i - z‖ by T steps z ← Σ_i β_i u_i / Σ_i β_i with β_i = w_i / max(ν, ‖u_i - z‖).

    ``iterations`` is T, ``nu`` the smoothing ν, and ``start`` the first z: the coordinate-wise (lower) ``"median"``,
    the weighted ``"mean"`` or ``"zero"``. From the mean, each step takes off only a share of what huge rows did to it.
    RFA takes T = 3, ν = 1e-6; ByzFL T = 3, ν = 0.1 from zero. The steps run on the Gram matrix, n² each. The weights w
    are the clients' own, so a client that overstates its samples weighs more. Rows that are not finite are left out.

    Records ``objective``, Σ_i w_i ‖u_i - z‖ before the last step; ``step``, the last step's length; and ``broken``: 1
    where half of the clients or more were malicious.

    >>> import torch
    >>> from raysplit import GeometricMedian
    >>> updates = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0], [50.0, -50.0]])
    >>> GeometricMedian()(updates)
    tensor([2.0000, 2.0000])
    """

    iterations: int = 8
    nu: float = 1e-6
    start: Literal["median", "mean", "zero"] = "median"

    def __post_init__(self) -> None:
        within("GeometricMedian.iterations", self.iterations, 1)
        if not self.nu > 0:
            raise ScenarioError(f"GeometricMedian.nu must be above 0, but it is {self.nu}")

    def over(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        n, d = geometry.shape
        # The last row stands for where z starts. z is kept as factors of the rows, which sum to 1.
        if self.start == "median":
            gram = geometry.gram_with_median
        else:
            gram = geometry.gram_with(geometry.centre if self.start == "mean" else torch.zeros(d))
        gram, present = without_lost(gram)
        shares = torch.zeros(n + 1, dtype=torch.float64)
        shares[:n] = weights.cpu().double() * present[:n]
        shares /= shares.sum()
        factors = shares.clone()
        if self.start != "mean":
            factors = torch.zeros(n + 1, dtype=torch.float64)
            factors[n] = 1
        for _ in range(self.iterations):
            before, distances = factors, distances_to(gram, factors)
            pull = shares / distances.clamp_min(self.nu)
            factors = pull / pull.sum()
        change = factors - before
        record = {
            "objective": float(shares @ distances),
            "step": float((change @ gram @ change).clamp_min(0).sqrt()),
            "broken": float(2 * context.actual >= n),
        }
        return Aggregate(combined(geometry.columns, factors[:n]), record)
