"""Divide and conquer, DnC: leave out what lies farthest along the main direction (Shejwalkar & Houmansadr, NDSS 2021, section VI)."""

from __future__ import annotations

import math

import numpy as np
import torch

from raysplit.defenses.aggregation.aggregation import Aggregate, RoundContext
from raysplit.defenses.aggregation.geometry import combine, row_norms
from raysplit.defenses.aggregation.malicious_count import Malicious, check_malicious, malicious_count
from raysplit.errors import ScenarioError
from raysplit.parts import part, within


@part
class DivideAndConquer:
    """AGR(U) = the mean of the updates that are kept by every one of ``iterations`` random sets of columns.

    On a set of r = min(``columns``, d) columns, drawn from the round's generator, let X be the updates less their mean and v the first
    right singular vector of X. Update i scores s_i = ⟨x_i, v⟩², and the ⌈c·f⌉ with the largest scores are dropped. The scores are
    λ₁ u₁² with λ₁, u₁ the first eigenpair of X Xᵀ: an exact [n, n] decomposition, no power iteration.

    ``malicious`` says what f is, as for ``Krum``; ``filter`` is c. Should no update be kept by all sets, those kept by the most are
    averaged (the paper does not say what to do). Of equal scores the first row is kept. Rows that are not finite are always
    dropped. The sample weights play no part. r = 10,000 and c = 1 are the defaults that simulators share; the paper's own were
    not at hand.

    Records ``malicious`` (f), ``select`` (rows averaged), ``kept_by`` (sets that kept each of them) and ``broken``: 1 where more clients were
    malicious than f. Raises ScenarioError where ⌈c·f⌉ ≥ n.
    """

    malicious: Malicious = "realised"
    columns: int = 10_000
    iterations: int = 1
    filter: float = 1.0

    def __post_init__(self) -> None:
        check_malicious(self)
        within("DivideAndConquer.columns", self.columns, 1)
        within("DivideAndConquer.iterations", self.iterations, 1)
        within("DivideAndConquer.filter", self.filter, 0)

    @property
    def columnwise(self) -> bool:
        return False

    def aggregate(self, updates: torch.Tensor, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        n, d = updates.shape
        f = malicious_count(self.malicious, context)
        drop = math.ceil(self.filter * f)
        if drop >= n:
            raise ScenarioError(
                f"DivideAndConquer(filter={self.filter}) would drop {drop} of {n} updates against {f} malicious clients and leave none"
            )
        present = row_norms(updates).isfinite()
        kept = torch.zeros(n, dtype=torch.int64)
        for _ in range(self.iterations):
            chosen = torch.arange(d)
            if self.columns < d:
                chosen = torch.from_numpy(np.sort(context.rng.choice(d, self.columns, replace=False, shuffle=False)))
            scores = outlier_scores(updates[:, chosen.to(updates.device)], present)
            kept[scores.sort(stable=True).indices[: n - drop]] += 1
        kept *= present
        selected = (kept == kept.max()) & present
        count = int(selected.sum())
        record = {"malicious": f, "select": count, "kept_by": int(kept.max()), "broken": context.realised > f}
        update = combine(updates, selected.double()).div_(max(1, count))
        return Aggregate(update, {name: float(value) for name, value in record.items()}, selected)


def outlier_scores(updates: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """s_i = ⟨u_i - mean, v⟩² with v the first right singular vector of the centred ``present`` rows, float64 [n]; ∞ for the others."""
    scores = torch.full((updates.shape[0],), torch.inf, dtype=torch.float64)
    if bool(present.any()):
        rows = updates[present.to(updates.device)].double()
        centred = rows - rows.mean(0)
        values, vectors = torch.linalg.eigh((centred @ centred.T).cpu())
        scores[present] = values[-1] * vectors[:, -1].square()
    return scores
