"""Coordinate-wise trimmed mean (Yin et al. 2018, definition 2; Khan et al. 2022, section 3.2)."""

from __future__ import annotations

from functools import partial

import torch

from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.order_statistics import mean_of_ranks
from raysplit.aggregation.rule import Aggregate, GeometryRule, MaliciousCount, RoundContext
from raysplit.aggregation.rules.malicious_count import check_f
from raysplit.errors import ScenarioError
from raysplit.parts.part import part


@part
class TrimmedMean(GeometryRule):
    """AGR(U)_j = 1/(n - 2f) · Σ_{i=f+1..n-f} c_(i),j with c_(1),j ≤ … ≤ c_(n),j the received values of coordinate j.

    ``f`` values are cut from each side: ``"actual"``, the true number of malicious clients in this very cohort
    (an oracle, as in the NDSS'21 code and in Khan et al.); ``"assumed"``, the number that the operator expects; or a
    fixed number. The sample weights play no part. NaN counts as larger than any number.

    Records ``trim`` (f) and ``broken``, which is 1 where more clients were malicious than f: then they can move the
    result without bound. Raises ScenarioError where 2f ≥ n, as nothing would be left.

    >>> import torch
    >>> from raysplit import TrimmedMean
    >>> updates = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0], [50.0, -50.0]])
    >>> TrimmedMean(f=1)(updates)
    tensor([2.3333, 1.6667])
    """

    f: MaliciousCount = "actual"

    def __post_init__(self) -> None:
        check_f(self)

    @property
    def columnwise(self) -> bool:
        return True

    def least_clients(self, f: int) -> int:
        return 2 * self.against(f) + 1

    def trim_count(self, n: int, assumed: int, actual: int) -> int:
        """k for a cohort of ``n``; raises ScenarioError where 2k ≥ n."""
        k = self.f if isinstance(self.f, int) else {"assumed": assumed, "actual": actual}[self.f]
        if 2 * k >= n:
            raise ScenarioError(
                f"TrimmedMean(f={self.f!r}) would cut {k} of {n} updates from each side and leave none: "
                f"at most {(n - 1) // 2} can be cut from a cohort of {n}"
            )
        return k

    def ranks(self, n: int, trim: int | None) -> tuple[int, int]:
        """The first and last order statistic (from 1) that the mean is taken over."""
        if trim is None:
            raise ValueError("a trimmed mean needs its trim count")
        return trim + 1, n - trim

    def over(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        n, _ = geometry.shape
        k = self.trim_count(n, context.assumed, context.actual)
        record = {"trim": float(k), "broken": float(context.actual > k)}
        first, last = self.ranks(n, k)
        return Aggregate(geometry.columns.map(partial(mean_of_ranks, first=first, last=last)), record)
