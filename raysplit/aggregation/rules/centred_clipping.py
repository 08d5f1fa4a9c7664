"""Centred clipping (Karimireddy et al. 2021, Learning from history, algorithm 2)."""

from __future__ import annotations

from typing import Literal

import torch

from raysplit.aggregation.columns import combined
from raysplit.aggregation.geometry import Geometry, distances_to, lower_median, without_lost
from raysplit.aggregation.rule import Aggregate, GeometryRule, RoundContext
from raysplit.errors import ScenarioError
from raysplit.parts.part import part, within


@part
class CentredClipping(GeometryRule):
    """L steps v ← v + 1/n · Σ_i (u_i - v) min(1, τ/‖u_i - v‖); AGR(U) = v.

    ``iterations`` is L. ``bound`` is τ: a number, or ``"median"`` for the median distance from v in each step. v
    ``start``s at the coordinate-wise (lower) ``"median"``, at ``"zero"``, or, as in the paper, at the ``"previous"``
    round's result, which the memory holds (zero in the first round). From zero every step is at most τ long, and one
    step is norm clipping with equal weights. The sample weights play no part. Rows that are not finite count as if they
    lay at v.

    Records ``bound``, the last τ; ``clipped``, the rows clipped in the last step; and ``broken``: 1 where half of the
    clients or more were malicious.

    >>> import torch
    >>> from raysplit import CentredClipping
    >>> updates = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0], [50.0, -50.0]])
    >>> CentredClipping(bound=1.0)(updates)
    tensor([2.1208, 1.7007])
    """

    bound: float | Literal["median"] = "median"
    iterations: int = 3
    start: Literal["median", "zero", "previous"] = "median"

    def __post_init__(self) -> None:
        within("CentredClipping.iterations", self.iterations, 1)
        if isinstance(self.bound, float) and not self.bound > 0:
            raise ScenarioError(f"CentredClipping.bound must be above 0, but it is {self.bound}")

    def over(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        n, d = geometry.shape
        if self.start == "median":
            anchor, gram = geometry.median, geometry.gram_with_median
        else:
            previous = context.memory.get("previous") if self.start == "previous" else None
            anchor = torch.zeros(d) if previous is None else previous
            gram = geometry.gram_with(anchor)
        # The last row stands for the anchor, where v starts. v is kept as factors of the rows, which sum to 1.
        gram, present = without_lost(gram)
        factors = torch.zeros(n + 1, dtype=torch.float64)
        factors[n] = 1
        for _ in range(self.iterations):
            distances = distances_to(gram, factors)[:n].masked_fill_(~present[:n], torch.inf)
            tau = lower_median(distances) if self.bound == "median" else float(self.bound)
            pull = torch.where(distances > tau, tau / distances, torch.ones_like(distances)) / n
            factors = factors * (1 - pull.sum())
            factors[:n] += pull
        update = combined(geometry.columns, factors[:n])
        update += anchor.to(update) * float(factors[n])
        record = {
            "bound": tau,
            "clipped": float((distances > tau).sum()),
            "broken": float(2 * context.actual >= n),
        }
        return Aggregate(update, record, memory={"previous": update.clone()} if self.start == "previous" else {})
