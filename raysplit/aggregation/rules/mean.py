"""The weighted mean, which withstands no adversary (McMahan et al. 2017, FedAvg, algorithm 1)."""

from __future__ import annotations

import torch

from raysplit.aggregation.columns import combined
from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.rule import Aggregate, GeometryRule, RoundContext
from raysplit.parts.part import part


@part
class Mean(GeometryRule):
    """AGR(U) = Σ_i w_i U_i, added in row order.

    ``updates`` U: [n, d]; ``weights`` w: [n]. A single malicious row can move it anywhere. A row that weighs 0 is left
    out.

    >>> import torch
    >>> from raysplit import Mean
    >>> updates = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0], [50.0, -50.0]])
    >>> Mean()(updates)
    tensor([11.6000, -8.4000])
    """

    @property
    def columnwise(self) -> bool:
        return True

    @property
    def takes_partial_sums(self) -> bool:
        return True

    def ranks(self, n: int, trim: int | None = None) -> tuple[int, int]:
        """With equal weights the mean of all order statistics, c_(1) … c_(n)."""
        return 1, n

    def over(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        return Aggregate(combined(geometry.columns, weights))
