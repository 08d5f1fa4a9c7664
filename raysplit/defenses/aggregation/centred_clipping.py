"""Centred clipping (Karimireddy et al. 2021, Learning from history, algorithm 2), without its memory."""

from __future__ import annotations

from typing import Literal

import torch

from raysplit.defenses.aggregation.aggregation import Aggregate, RoundContext
from raysplit.defenses.aggregation.geometry import combine, distances_to, lower_median, robust_centre, without_lost
from raysplit.defenses.aggregation.gram import centred_gram
from raysplit.errors import ScenarioError
from raysplit.parts import part, within


@part
class CentredClipping:
    """L steps v ← v + 1/n · Σ_i (u_i - v) min(1, τ/‖u_i - v‖); AGR(U) = v.

    ``iterations`` is L. ``bound`` is τ: a number, or ``"median"`` for the median distance from v in each step. The paper
    starts from the previous round's v; a rule is a pure function here, so v ``start``s at the coordinate-wise (lower)
    ``"median"`` or at ``"zero"``. From zero every step is at most τ long, and one step is norm clipping with equal weights.
    The sample weights play no part. Rows that are not finite count as if they lay at v.

    Records ``bound``, the last τ; ``clipped``, the rows clipped in the last step; and ``broken``: 1 where half of the clients
    or more lied.
    """

    bound: float | Literal["median"] = "median"
    iterations: int = 3
    start: Literal["median", "zero"] = "median"

    def __post_init__(self) -> None:
        within("CentredClipping.iterations", self.iterations, 1)
        if isinstance(self.bound, float) and not self.bound > 0:
            raise ScenarioError(f"CentredClipping.bound must be above 0, but it is {self.bound}")

    @property
    def columnwise(self) -> bool:
        return False

    def aggregate(self, updates: torch.Tensor, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        n = updates.shape[0]
        centre = robust_centre(updates)
        # The last row stands for the zero vector. v is kept as factors of the rows, all of them less the centre.
        gram, present = without_lost(centred_gram(updates, centre, -centre).cpu())
        factors = torch.zeros(n + 1, dtype=torch.float64)
        factors[n] = float(self.start == "zero")
        for _ in range(self.iterations):
            distances = distances_to(gram, factors)[:n].masked_fill_(~present[:n], torch.inf)
            tau = lower_median(distances) if self.bound == "median" else float(self.bound)
            pull = torch.where(distances > tau, tau / distances, torch.ones_like(distances)) / n
            factors = factors * (1 - pull.sum())
            factors[:n] += pull
        rest = 1 - float(factors.sum())
        update = combine(updates, factors[:n])
        if self.start == "median":
            update += centre * rest
        record = {
            "bound": tau,
            "clipped": float((distances > tau).sum()),
            "broken": float(2 * context.realised >= n),
        }
        return Aggregate(update, record)
