"""Nearest-neighbour mixing, NNM (Allouah et al. 2023, Fixing by mixing, algorithm 2)."""

from __future__ import annotations

import torch

from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.rule import MaliciousCount, RoundContext
from raysplit.aggregation.rules.composed import LinearPreAggregation, Mixing
from raysplit.aggregation.rules.malicious_count import check_f, minority
from raysplit.parts.part import part


@part
class NearestNeighbourMixing(LinearPreAggregation):
    """y_i = 1/(n - f) · Σ u_j over the n - f updates u_j nearest to u_i, itself among them.

    ``f``: ``"actual"``, ``"assumed"`` or a fixed number, as for ``Krum``. It is one product W U
    with W: [n, n]. Of equally near rows the first is taken. The rule that follows gets the same n and f and the same
    weights. A row whose neighbours are not all finite becomes NaN.

    Records ``mixed_rows``, n - f, and ``broken``: 1 where more clients were malicious than f. Raises ScenarioError
    where 2f ≥ n.

    >>> import torch
    >>> from raysplit import NearestNeighbourMixing
    >>> updates = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0], [50.0, -50.0]])
    >>> NearestNeighbourMixing(f=1)(updates)[-1]
    tensor([ 14.2500, -11.0000])
    """

    f: MaliciousCount = "actual"

    def __post_init__(self) -> None:
        check_f(self)

    def least_clients(self, f: int) -> int:
        return 2 * self.against(f) + 1

    def mixing(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Mixing:
        n, _ = geometry.shape
        f = minority(self, self.f, n, context)
        distances = geometry.distances.clone().fill_diagonal_(-1)  # a row is its own first neighbour, before its copies
        nearest = distances.sort(dim=1, stable=True)
        members = torch.zeros(n, n, dtype=torch.bool).scatter_(1, nearest.indices[:, : n - f], True)
        lost = nearest.values[:, : n - f].isinf().any(1)
        matrix = (members.double() / (n - f)).masked_fill_(lost[:, None], torch.nan)
        record = {"mixed_rows": float(n - f), "broken": float(context.actual > f)}
        return Mixing(matrix, weights, context, members, record)
