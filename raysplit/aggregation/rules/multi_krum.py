"""Multi-Krum: the mean of the updates with the best Krum scores (Blanchard et al. 2017, section 5)."""

from __future__ import annotations

import torch

from raysplit.aggregation.columns import combined
from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.rule import Aggregate, GeometryRule, MaliciousCount, RoundContext
from raysplit.aggregation.rules.krum import Neighbours, krum_scores, least_rows, neighbour_count
from raysplit.aggregation.rules.malicious_count import check_f, count_of, require_updates
from raysplit.parts.part import part, within


@part
class MultiKrum(GeometryRule):
    """AGR(U) = 1/m · Σ u_i over the m updates with the smallest Krum scores s_i, which are computed once.

    s_i = Σ ‖u_i - u_j‖² over the q updates nearest to u_i. ``select`` is m; None stands for n - f, as in ByzFL.
    ``neighbours`` (q) and ``f`` are as for ``Krum``. The NDSS'21 code scores anew after every pick; this
    rule, like the paper, does not. Of equal scores the first rows' win. The sample weights play no part.

    Records ``f``, ``select`` (m) and ``broken``: 1 where more clients were malicious than f. Raises
    ScenarioError as ``Krum`` does, and where m > n.

    >>> import torch
    >>> from raysplit import MultiKrum
    >>> updates = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0], [50.0, -50.0]])
    >>> MultiKrum(f=1, select=3)(updates)
    tensor([1.6667, 1.6667])
    """

    select: int | None = None
    neighbours: Neighbours = "n-f-2"
    f: MaliciousCount = "actual"

    def __post_init__(self) -> None:
        check_f(self)
        if self.select is not None:
            within("MultiKrum.select", self.select, 1)

    def least_clients(self, f: int) -> int:
        return max(least_rows(self.against(f), self.neighbours), self.select or 1)

    def over(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        n, _ = geometry.shape
        f = count_of(self.f, context)
        require_updates(self, n, f)
        m = n - f if self.select is None else self.select
        selected = self.selection(geometry.distances, f)
        record = {"f": float(f), "select": float(m), "broken": float(context.actual > f)}
        return Aggregate(combined(geometry.columns, selected.double()).div_(m), record, selected)

    def selection(self, distances: torch.Tensor, f: int) -> torch.Tensor:
        """Which rows are taken, bool [n], by the squared ``distances``, [n, n]."""
        n = distances.shape[0]
        scores = krum_scores(distances, neighbour_count(n, f, self.neighbours))
        selected = torch.zeros(n, dtype=torch.bool)
        selected[scores.sort(stable=True).indices[: n - f if self.select is None else self.select]] = True
        return selected
