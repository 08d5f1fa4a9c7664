"""Bulyan: repeated Krum, then a mean around the median of what it picked (El Mhamdi et al. 2018, section 4)."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.rule import Aggregate, GeometryRule, MaliciousCount, RoundContext
from raysplit.aggregation.rules.krum import Neighbours, neighbour_count
from raysplit.aggregation.rules.malicious_count import check_f, count_of, require_updates
from raysplit.aggregation.rules.mean_around_median import Even, mean_nearest_median
from raysplit.parts.part import part


@part
class Bulyan(GeometryRule):
    """AGR(U)_j = the mean of the θ - 2f values of coordinate j nearest to their median, among θ = n - 2f picked
    updates.

    The picks: the update with the best Krum score is taken out, the r that remain are scored anew, and so on θ times. A
    score is the sum of the squared distances to the q nearest of the remaining, q = max(1, r - f - 2) or, by
    ``neighbours``, max(1, r - f - 1). ``f`` is as for ``Krum``; ``even`` which median an even θ
    has. Ties go to the first row and to the smaller value; once q = 1 (for f ≤ 2, the last picks) two nearest
    neighbours always tie, so there the order of the rows can decide. The sample weights play no part.

    Records ``f``, ``select`` (θ), ``keep`` (θ - 2f) and ``broken``: 1 where more clients were malicious
    than f. Raises ScenarioError where n < 4f + 3.

    >>> import torch
    >>> from raysplit import Bulyan
    >>> updates = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0], [50.0, -50.0]])
    >>> Bulyan(f=1)(torch.cat([updates, updates]))
    tensor([1.6667, 1.6667])
    """

    neighbours: Neighbours = "n-f-2"
    f: MaliciousCount = "actual"
    even: Even = "lower"

    def __post_init__(self) -> None:
        check_f(self)

    def least_clients(self, f: int) -> int:
        return 4 * self.against(f) + 3

    def over(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        n, _ = geometry.shape
        f = count_of(self.f, context)
        require_updates(self, n, f)
        theta = n - 2 * f
        selected = self.selection(geometry.distances, f)
        rows = selected.nonzero().flatten()
        record = {"f": f, "select": theta, "keep": theta - 2 * f, "broken": context.actual > f}
        stage = partial(mean_nearest_median, keep=theta - 2 * f, even=self.even, rows=rows)
        update = geometry.columns.map(stage)
        return Aggregate(update, {name: float(value) for name, value in record.items()}, selected)

    def selection(self, distances: torch.Tensor, f: int) -> torch.Tensor:
        """Which θ = n - 2f rows repeated Krum picks, bool [n], by the squared ``distances``, [n, n]."""
        n = distances.shape[0]
        selected = torch.zeros(n, dtype=torch.bool)
        # What ``krum_scores`` would sort anew for every pick: row i's distances to the others, ascending, and whose
        # they are.
        others, order = distances.clone().fill_diagonal_(torch.inf).sort(dim=1)
        ordered, whose, remaining = (
            others.numpy(),
            order.to(torch.int16 if n < 2**15 else torch.int32).numpy(),
            np.arange(n),
        )
        for _ in range(n - 2 * f):
            neighbours = neighbour_count(len(remaining), f, self.neighbours)
            best = int(torch.from_numpy(ordered[:, :neighbours]).sum(1).argmin())
            gone = remaining[best]
            selected[gone] = True
            stay = np.arange(len(remaining)) != best
            kept = (whose != gone) & stay[:, None]
            remaining = remaining[stay]
            ordered, whose = (rows[kept].reshape(len(remaining), len(remaining)) for rows in (ordered, whose))
        return selected
