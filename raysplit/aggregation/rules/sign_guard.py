"""SignGuard: norms within a band, and the largest cluster of sign statistics (Xu et al., ICDCS 2022)."""

from __future__ import annotations

import torch

from raysplit.aggregation.columns import combined
from raysplit.aggregation.geometry import Geometry, finite_or_infinite, lower_median
from raysplit.aggregation.order_statistics import chosen_columns, drawn_columns
from raysplit.aggregation.rule import Aggregate, GeometryRule, RoundContext
from raysplit.aggregation.rules.clipping import clipping_to
from raysplit.aggregation.rules.mean_shift import largest_cluster
from raysplit.errors import ScenarioError
from raysplit.parts.part import part


@part
class SignGuard(GeometryRule):
    """AGR(U) = the mean of u_i min(1, M/‖u_i‖) over the updates that pass two filters; M is the (lower) median of the
    norms.

    First, ``low`` ≤ ‖u_i‖/M ≤ ``high``. Then each update that passed is described by its shares of positive, zero and
    negative values among a ``share`` of the columns, drawn from the round's generator, and the largest cluster of these
    points is kept. Clusters are found by flat mean shift (mean_shift.py) with bandwidth the mean distance to the
    ⌈n/2⌉-th nearest point; of two equally large ones the denser. The published algorithm clusters all updates and
    intersects; only what passed the first filter is clustered here, so that the intersection is never empty. The
    variants with a similarity as fourth feature are left out. Defaults are those of the usual implementations; the
    paper was not at hand.

    It asks for no number of malicious clients. The sample weights play no part. Rows that are not finite are left
    out. Records ``bound`` (M), ``select`` (updates averaged), ``in_band`` and ``broken``: 1 where half of the clients
    or more were malicious.

    >>> import torch
    >>> from raysplit import SignGuard
    >>> updates = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0], [50.0, -50.0]])
    >>> SignGuard(share=1.0)(updates)
    tensor([1.7500, 1.7500])
    """

    low: float = 0.1
    high: float = 3.0
    share: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.low <= 1 <= self.high:
            raise ScenarioError(
                f"SignGuard.low must be within 0 and 1 and SignGuard.high at least 1, but they are {self.low} and "
                f"{self.high}"
            )
        if not 0 < self.share <= 1:
            raise ScenarioError(f"SignGuard.share must be above 0 and at most 1, but it is {self.share}")

    def over(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        n, d = geometry.shape
        norms = finite_or_infinite(geometry.norms)
        middle = lower_median(norms)
        band = norms.isfinite() & (norms >= self.low * middle) & (norms <= self.high * middle)
        count = max(1, round(self.share * d))
        chosen = drawn_columns(context.rng, d, count)
        selected = torch.zeros(n, dtype=torch.bool)
        if bool(band.any()):
            features = geometry.columns.total(sign_counts, chosen)[band] / count
            selected[band.nonzero().flatten()[largest_cluster(features)]] = True
        scale = clipping_to(norms, middle)
        kept = int(selected.sum())
        update = combined(geometry.columns, torch.where(selected, scale, 0.0)).div_(max(1, kept))
        record = {"bound": middle, "select": kept, "in_band": int(band.sum()), "broken": 2 * context.actual >= n}
        return Aggregate(update, {name: float(value) for name, value in record.items()}, selected)


def sign_counts(rows: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """How many positive, zero and negative values each row has among the ``chosen`` columns, float64 [n, 3]."""
    rows = chosen_columns(rows, chosen)
    return torch.stack([(rows > 0).sum(1), (rows == 0).sum(1), (rows < 0).sum(1)], dim=1).double()
