"""How far mean scores of n draws can be from expected ones: intervals that hold of all classes at once with a given
confidence (Lecuyer et al. 2019, section 3.4)."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import betaincinv  # type: ignore[import-untyped]

Bounds = tuple[np.ndarray, np.ndarray]
"""Lower and upper, of every class, [K]"""


def clopper_pearson(votes: np.ndarray, draws: int, confidence: float) -> Bounds:
    """Of the share of draws in which each of K classes has the largest score; ``votes``: int64 [K], of ``draws``.

    Exact binomial intervals (Clopper and Pearson 1934) at level (1 − ``confidence``)/K each, half on either side.
    """
    tail = (1 - confidence) / len(votes) / 2
    low = np.where(votes > 0, betaincinv(np.maximum(votes, 1), draws - votes + 1, tail), 0.0)
    high = np.where(votes < draws, betaincinv(votes + 1, np.maximum(draws - votes, 1), 1 - tail), 1.0)
    return low, high


def hoeffding(means: np.ndarray, draws: int, confidence: float) -> Bounds:
    """Of the expected softmax of each of K classes, whose mean over ``draws`` is in ``means``, [K]: ± √(ln(2K / (1 −
    confidence)) / 2n)."""
    reach = math.sqrt(math.log(2 * len(means) / (1 - confidence)) / (2 * draws))
    return np.clip(means - reach, 0.0, 1.0), np.clip(means + reach, 0.0, 1.0)
