"""How accuracy spreads over clients: what a mean hides. Thapa et al. 2022, Figure 4, and the tails that it leaves
out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Over clients with at least one sample; fractions, but ``cv``.

    ``sd``: with n − 1 (0 for one client). ``cv``: coefficient of variation, 100 · sd / mean in % (Thapa et al. call
    below 10 good; they do not say which sd), None where the mean is 0. ``worst_decile``: mean of the worst tenth of the
    clients, rounded up to at least one.
    """

    clients: int
    mean: float
    sd: float
    cv: float | None
    p10: float
    p25: float
    p50: float
    p75: float
    p90: float
    worst_decile: float

    @staticmethod
    def of(accuracies: np.ndarray) -> Spread:
        """``accuracies``: float [clients], one each, at least one."""
        ordered = np.sort(np.asarray(accuracies, dtype=np.float64))
        mean = float(ordered.mean())
        sd = float(ordered.std(ddof=1)) if len(ordered) > 1 else 0.0
        p10, p25, p50, p75, p90 = (float(value) for value in np.percentile(ordered, [10, 25, 50, 75, 90]))
        worst = float(ordered[: -(-len(ordered) // 10)].mean())
        return Spread(len(ordered), mean, sd, 100 * sd / mean if mean > 0 else None, p10, p25, p50, p75, p90, worst)
