"""Coordinate-wise median (Yin et al. 2018, definition 1; Khan et al. 2022, section 3.2)."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch

from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.order_statistics import mean_of_ranks
from raysplit.aggregation.rule import Aggregate, GeometryRule, RoundContext
from raysplit.parts.part import part


@part
class Median(GeometryRule):
    """AGR(U)_j = c_(h),j with h = ⌊(n + 1)/2⌋, the middle of the n ascending values of coordinate j.

    For an even n ``even`` decides: ``"lower"``, c_(n/2), as ``torch.median`` and the NDSS'21 code; ``"midpoint"``,
    (c_(n/2) + c_(n/2+1))/2, as numpy and ByzFL. The lower one is the easier to push down than up. The sample weights
    play no part. NaN counts as larger than any number. Records ``broken``: 1 where half of the clients or more were
    malicious.

    >>> import torch
    >>> from raysplit import Median
    >>> updates = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0], [50.0, -50.0]])
    >>> Median()(updates)
    tensor([2., 2.])
    """

    even: Literal["lower", "midpoint"] = "lower"

    @property
    def columnwise(self) -> bool:
        return True

    def ranks(self, n: int, trim: int | None = None) -> tuple[int, int]:
        """The first and last order statistic (from 1) that the median averages."""
        middle = (n + 1) // 2
        return middle, middle + 1 if n % 2 == 0 and self.even == "midpoint" else middle

    def over(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        n, _ = geometry.shape
        first, last = self.ranks(n)
        update = geometry.columns.map(partial(mean_of_ranks, first=first, last=last))
        return Aggregate(update, {"broken": float(2 * context.actual >= n)})
