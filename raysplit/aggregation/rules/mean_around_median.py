"""Mean around the median, "meamed" (Xie et al. 2018, Generalized Byzantine-tolerant SGD, definition 6)."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch

from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.order_statistics import add_rows, ascending_blocks, ranks_of
from raysplit.aggregation.rule import Aggregate, GeometryRule, MaliciousCount, RoundContext
from raysplit.aggregation.rules.malicious_count import check_f, minority
from raysplit.parts.part import part

Even = Literal["lower", "midpoint"]


@part
class MeanAroundMedian(GeometryRule):
    """AGR(U)_j = the mean of the n - f values of coordinate j that are nearest to the median of its n values.

    ``f``: ``"actual"``, ``"assumed"`` or a fixed number, as for ``Krum``. ``even`` says which
    median an even n has: ``"lower"``, c_(n/2), or ``"midpoint"``, as numpy and ByzFL. Of two equally near values the
    smaller is taken. The sample weights play no part. NaN counts as larger than any number.

    Records ``f`` and ``broken``: 1 where more clients were malicious than f. Raises ScenarioError where 2f
    ≥ n.

    >>> import torch
    >>> from raysplit import MeanAroundMedian
    >>> updates = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0], [50.0, -50.0]])
    >>> MeanAroundMedian(f=1)(updates)
    tensor([2., 2.])
    """

    f: MaliciousCount = "actual"
    even: Even = "lower"

    def __post_init__(self) -> None:
        check_f(self)

    @property
    def columnwise(self) -> bool:
        return True

    def least_clients(self, f: int) -> int:
        return 2 * self.against(f) + 1

    def over(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        n, _ = geometry.shape
        f = minority(self, self.f, n, context)
        record = {"f": float(f), "broken": float(context.actual > f)}
        return Aggregate(geometry.columns.map(partial(mean_nearest_median, keep=n - f, even=self.even)), record)


def mean_nearest_median(
    matrix: torch.Tensor, keep: int, even: Even = "lower", rows: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean of the ``keep`` values of every column that are nearest to its median, [d]; of all rows or of ``rows``
    (indices).

    The nearest values are neighbours in sorted order: the window c_(s+1) … c_(s+keep) moves up from s = 0 for as long
    as the value that it would gain is nearer to the median than the one that it would lose.
    """
    result = matrix.new_empty(matrix.shape[1])
    for columns, values in ascending_blocks(matrix, rows):
        n = values.shape[1]
        ordered = ranks_of(values, 1, n)
        lower, upper = ordered[(n - 1) // 2], ordered[n // 2]
        median = lower if even == "lower" else lower + (upper - lower) / 2
        nearer = ordered[keep:] - median < median - ordered[: n - keep]
        start = nearer.sum(0, dtype=torch.int32)
        place = torch.arange(n, dtype=torch.int32, device=matrix.device)[:, None]
        # Zeros outside the window, rather than a gather of it: four times as fast, and adding 0 changes no bit.
        ordered.masked_fill_((place < start) | (place >= start + keep), 0)
        result[columns] = add_rows(ordered).div_(keep)
    return result
