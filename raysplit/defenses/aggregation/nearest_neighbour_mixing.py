"""Nearest-neighbour mixing, NNM (Allouah et al. 2023, Fixing by mixing, algorithm 2)."""

from __future__ import annotations

import torch

from raysplit.defenses.aggregation.aggregation import RoundContext
from raysplit.defenses.aggregation.composed import Mixed
from raysplit.defenses.aggregation.geometry import row_distances
from raysplit.defenses.aggregation.malicious_count import Malicious, check_malicious, minority
from raysplit.defenses.aggregation.order_statistics import column_blocks
from raysplit.parts import part


@part
class NearestNeighbourMixing:
    """y_i = 1/(n - f) · Σ u_j over the n - f updates u_j nearest to u_i, itself among them.

    ``malicious`` says what f is: ``"realised"``, ``"declared"`` or a fixed number, as for ``Krum``. It is one product W U with
    W: [n, n]. Of equally near rows the first is taken. The rule that follows is told the same n and f and the same weights.
    A row whose neighbours are not all finite becomes NaN.

    Records ``mixed_rows``, n - f, and ``broken``: 1 where more clients were malicious than f. Raises ScenarioError where 2f ≥ n.
    """

    malicious: Malicious = "realised"

    def __post_init__(self) -> None:
        check_malicious(self)

    @property
    def columnwise(self) -> bool:
        return False

    def mix(self, updates: torch.Tensor, weights: torch.Tensor, context: RoundContext) -> Mixed:
        n = updates.shape[0]
        f = minority(self, n, context)
        distances = row_distances(updates).fill_diagonal_(-1)  # a row is its own first neighbour, before its copies
        nearest = distances.sort(dim=1, stable=True)
        members = torch.zeros(n, n, dtype=torch.bool).scatter_(1, nearest.indices[:, : n - f], True)
        lost = (nearest.values[:, : n - f].isinf().any(1)).to(updates.device)
        absent = (distances.isinf().sum(1) == n - 1).to(updates.device) if n > 1 else lost
        mixing = members.to(updates) / (n - f)
        mixed = torch.empty_like(updates)
        for columns in column_blocks(updates):
            block = updates[:, columns].masked_fill(absent[:, None], 0)
            mixed[:, columns] = (mixing @ block).masked_fill_(lost[:, None], torch.nan)
        record = {"mixed_rows": float(n - f), "broken": float(context.realised > f)}
        return Mixed(mixed, weights, context, members, record)
