"""Adaptive robust clipping, ARC (Allouah et al. 2024, arXiv:2405.14432), before a rule."""

from __future__ import annotations

import torch

from raysplit.aggregation.geometry import Geometry, finite_or_infinite
from raysplit.aggregation.rule import MaliciousCount, RoundContext
from raysplit.aggregation.rules.clipping import clipping_to
from raysplit.aggregation.rules.composed import LinearPreAggregation, Mixing
from raysplit.aggregation.rules.malicious_count import check_f, minority
from raysplit.parts.part import part


@part
class AdaptiveRobustClipping(LinearPreAggregation):
    """y_i = u_i min(1, C/‖u_i‖) with C the norm of the (k+1)-th longest update and k = ⌊2 f/n · (n - f)⌋: the k longest
    are clipped.

    ``f``: ``"actual"``, ``"assumed"`` or a fixed number, as for ``Krum``. The rule that follows
    gets the same n, f and weights. Rows that are not finite become zero.

    Records ``bound`` (C), ``clipped`` (k) and ``broken``: 1 where more clients were malicious than f. Raises
    ScenarioError where 2f ≥ n. The formula is that of ByzFL's documentation; the paper itself was not at hand.

    >>> import torch
    >>> from raysplit import AdaptiveRobustClipping
    >>> updates = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0], [50.0, -50.0]])
    >>> AdaptiveRobustClipping(f=1)(updates)[-1]
    tensor([ 3., -3.])
    """

    f: MaliciousCount = "actual"

    def __post_init__(self) -> None:
        check_f(self)

    def least_clients(self, f: int) -> int:
        return 2 * self.against(f) + 1

    def mixing(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Mixing:
        n, _ = geometry.shape
        f = minority(self, self.f, n, context)
        norms = finite_or_infinite(geometry.norms)
        k = 2 * f * (n - f) // n
        bound = float(norms.sort().values[n - k - 1])
        members = torch.eye(n, dtype=torch.bool)
        record = {"bound": bound, "clipped": float(k), "broken": float(context.actual > f)}
        return Mixing(clipping_to(norms, bound).diag(), weights, context, members, record)
