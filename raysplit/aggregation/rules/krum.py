"""Krum: the one update that lies closest to its neighbours (Blanchard et al. 2017, section 4)."""

from __future__ import annotations

from typing import Literal

import torch

from raysplit.aggregation.columns import combined
from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.rule import Aggregate, GeometryRule, MaliciousCount, RoundContext
from raysplit.aggregation.rules.malicious_count import check_f, count_of, require_updates
from raysplit.parts.part import part

Neighbours = Literal["n-f-2", "n-f-1"]


@part
class Krum(GeometryRule):
    """AGR(U) = u_i* with i* = argmin_i s_i and s_i = Σ ‖u_i - u_j‖² over the q updates u_j, j ≠ i, nearest to u_i.

    ``neighbours`` says what q is: ``"n-f-2"``, as in the paper and Flower; ``"n-f-1"``, as in ByzFL. ``f``:
    ``"actual"``, the true number in this very cohort (an oracle); ``"assumed"``, what the operator expects;
    or a fixed number. Of equal scores the first row's wins. The sample weights play no part.

    Records ``f``, ``score`` (s_i*) and ``broken``: 1 where more clients were malicious than f. Raises
    ScenarioError where n < 2f + 3 (for ``"n-f-1"``: n < 2f + 1), as f equal rows could then always win.

    >>> import torch
    >>> from raysplit import Krum
    >>> updates = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0], [50.0, -50.0]])
    >>> Krum(f=1)(updates)
    tensor([2., 2.])
    """

    neighbours: Neighbours = "n-f-2"
    f: MaliciousCount = "actual"

    def __post_init__(self) -> None:
        check_f(self)

    def least_clients(self, f: int) -> int:
        return least_rows(self.against(f), self.neighbours)

    def over(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        n, _ = geometry.shape
        f = count_of(self.f, context)
        require_updates(self, n, f)
        distances = geometry.distances
        selected = self.selection(distances, f)
        best = int(selected.nonzero())
        scores = krum_scores(distances, neighbour_count(n, f, self.neighbours))
        record = {"f": float(f), "score": float(scores[best]), "broken": float(context.actual > f)}
        return Aggregate(combined(geometry.columns, selected.double()), record, selected)

    def selection(self, distances: torch.Tensor, f: int) -> torch.Tensor:
        """Which row is taken, bool [n], by the squared ``distances``, [n, n]."""
        n = distances.shape[0]
        best = krum_scores(distances, neighbour_count(n, f, self.neighbours)).argmin()
        return torch.arange(n) == best


def neighbour_count(n: int, f: int, neighbours: Neighbours) -> int:
    """q for ``n`` rows; at least 1, which matters only for the last picks of Bulyan."""
    return max(1, n - f - 2 if neighbours == "n-f-2" else n - f - 1)


def krum_scores(distances: torch.Tensor, neighbours: int) -> torch.Tensor:
    """s_i, [n], the sum of the ``neighbours`` smallest squared ``distances``, [n, n], from i to the others."""
    others = distances.clone().fill_diagonal_(torch.inf)
    return others.sort(dim=1).values[:, :neighbours].sum(1)


def least_rows(f: int, neighbours: Neighbours) -> int:
    """How many rows Krum scores need against ``f`` malicious ones: with fewer, f equal rows could always win."""
    return 2 * f + 3 if neighbours == "n-f-2" else 2 * f + 1
