"""Divide and conquer, DnC: leave out what lies farthest along the main direction (Shejwalkar & Houmansadr, NDSS 2021,
section VI)."""

from __future__ import annotations

import math
from functools import partial

import torch

from raysplit.aggregation.columns import combined
from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.gram import add_products, mirrored
from raysplit.aggregation.order_statistics import chosen_columns, column_blocks, drawn_columns
from raysplit.aggregation.rule import Aggregate, GeometryRule, MaliciousCount, RoundContext
from raysplit.aggregation.rules.malicious_count import check_f, count_of
from raysplit.errors import ScenarioError
from raysplit.parts.part import part, within


@part
class DivideAndConquer(GeometryRule):
    """AGR(U) = the mean of the updates that are kept by every one of ``iterations`` random sets of columns.

    On a set of r = min(``columns``, d) columns, drawn from the round's generator, let X be the updates less their mean
    and v the first right singular vector of X. Update i scores s_i = ⟨x_i, v⟩², and the ⌈c·f⌉ with the largest scores
    are dropped. The scores are λ₁ u₁² with λ₁, u₁ the first eigenpair of X Xᵀ: an exact [n, n] decomposition, no power
    iteration.

    ``f`` is as for ``Krum``; ``filter`` is c. Should no update be kept by all sets, those kept by
    the most are averaged (the paper does not say what to do). Of equal scores the first row is kept. Rows that are not
    finite are always dropped. The sample weights play no part. r = 10,000 and c = 1 are the defaults that simulators
    share; the paper's own were not at hand.

    Records ``f``, ``select`` (rows averaged), ``kept_by`` (sets that kept each of them) and ``broken``: 1
    where more clients were malicious than f. Raises ScenarioError where ⌈c·f⌉ ≥ n.

    >>> import torch
    >>> from raysplit import DivideAndConquer
    >>> updates = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0], [50.0, -50.0]])
    >>> DivideAndConquer(f=1)(updates)
    tensor([2., 2.])
    """

    f: MaliciousCount = "actual"
    columns: int = 10_000
    iterations: int = 1
    filter: float = 1.0

    def __post_init__(self) -> None:
        check_f(self)
        within("DivideAndConquer.columns", self.columns, 1)
        within("DivideAndConquer.iterations", self.iterations, 1)
        within("DivideAndConquer.filter", self.filter, 0)

    def least_clients(self, f: int) -> int:
        return math.ceil(self.filter * self.against(f)) + 1

    def over(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        n, d = geometry.shape
        f = count_of(self.f, context)
        drop = math.ceil(self.filter * f)
        if drop >= n:
            raise ScenarioError(
                f"DivideAndConquer(filter={self.filter}) would drop {drop} of {n} updates against {f} malicious "
                "clients and leave none"
            )
        present = geometry.norms.isfinite()
        kept = torch.zeros(n, dtype=torch.int64)
        for _ in range(self.iterations):
            chosen = drawn_columns(context.rng, d, self.columns)
            scores = outlier_scores(geometry.columns.total(partial(gram_from_mean, present=present), chosen), present)
            kept[scores.sort(stable=True).indices[: n - drop]] += 1
        kept *= present
        selected = (kept == kept.max()) & present
        count = int(selected.sum())
        record = {"f": f, "select": count, "kept_by": int(kept.max()), "broken": context.actual > f}
        update = combined(geometry.columns, selected.double()).div_(max(1, count))
        return Aggregate(update, {name: float(value) for name, value in record.items()}, selected)


def gram_from_mean(rows: torch.Tensor, chosen: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """X Xᵀ in float64, [p, p], with X the ``chosen`` columns (bool [w]) of the p ``present`` rows, less their mean."""
    count = int(present.sum())
    gram = torch.zeros(count, count, dtype=torch.float64, device=rows.device)
    kept = chosen_columns(rows, chosen)
    for columns in column_blocks(kept):
        block = kept[:, columns][present.to(rows.device)].double()
        centred = block - block.mean(0)
        add_products(gram, centred)
    return mirrored(gram)


def outlier_scores(gram: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """s_i = ⟨u_i - mean, v⟩² with v the first right singular vector of the centred ``present`` rows, whose Gram matrix
    this is.

    float64 [n]; ∞ for the other rows.
    """
    scores = torch.full((len(present),), torch.inf, dtype=torch.float64)
    if bool(present.any()):
        values, vectors = torch.linalg.eigh(gram)
        scores[present] = values[-1] * vectors[:, -1].square()
    return scores
