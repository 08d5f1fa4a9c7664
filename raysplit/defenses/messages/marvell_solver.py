"""How much noise, and in which direction, hides best which of two classes a gradient is of (Li et al. 2022, ICLR, arXiv
2102.08504, section 4.2 and appendix)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

GRID = 129
REFINEMENTS = 8


class TwoClasses(NamedTuple):
    """Gradients of a batch: ``gap`` = ‖ḡ₁ − ḡ₀‖²; ``negative``, ``positive``: variance of a coordinate, mean over them, of
    class 0 and 1; ``share``: of class 1 in the batch, between 0 and 1; ``dimension``: d, at least 2."""

    gap: float
    negative: float
    positive: float
    share: float
    dimension: int


class NoiseVariances(NamedTuple):
    """Of the noise: along ḡ₁ − ḡ₀, and in every other direction, on class 0 and on class 1; and ``divergence``: the sum
    of both Kullback-Leibler divergences (nats) of the two classes' noisy gradients, taken as Gaussian. Whoever tells the
    classes apart errs, on the mean of both rates, at least ½ − √divergence/4 of the time."""

    along_negative: float
    across_negative: float
    along_positive: float
    across_positive: float
    divergence: float

    @property
    def error_bound(self) -> float:
        return max(0.0, 0.5 - math.sqrt(self.divergence) / 4)


def best_noise(classes: TwoClasses, power: float) -> NoiseVariances:
    """The variances that minimise the divergence at a mean squared length of ``power`` > 0 of the noise, over which the
    paper's alternating search converges.

    With u, v the classes' variances, D the gap, a = u + along, b = v + along, twice the divergence plus 2d is
    (d−1)(r + 1/r) + (a + D)/b + (b + D)/a, r the ratio of the variances across. To bring r towards 1 at least expense,
    noise across goes to the class of the smaller variance alone, up to the other's: one number t. For a given t the rest
    is convex in a, where (1−p)a + pb is fixed: its minimum is at b/a = √((c + (1−p)D)/(c + pD)), c that sum, or at an end.
    So the search is over t, on a grid that is refined around its best point.
    """
    swapped = classes.negative > classes.positive
    if swapped:  # then class 1 gets the noise across: the same problem with the classes' names exchanged
        classes = TwoClasses(classes.gap, classes.positive, classes.negative, 1 - classes.share, classes.dimension)
    low, high = 0.0, min(classes.positive - classes.negative, power / ((1 - classes.share) * classes.dimension))
    across = np.zeros(1)
    for _ in range(REFINEMENTS if high > 0 else 1):
        across = np.linspace(low, high, GRID) if high > 0 else across
        values = _value(classes, across, *_along(classes, across, power))
        best = int(np.argmin(values))
        low, high = across[max(best - 1, 0)], across[min(best + 1, len(across) - 1)]
    t = across[best : best + 1]
    negative, positive = _along(classes, t, power)
    divergence = max(0.0, float(_value(classes, t, negative, positive)[0]) / 2 - classes.dimension)
    found = (float(negative[0]), float(t[0]), float(positive[0]), 0.0)
    if swapped:
        found = (found[2], found[3], found[0], found[1])
    return NoiseVariances(*found, divergence)


def _along(classes: TwoClasses, across: np.ndarray, power: float) -> tuple[np.ndarray, np.ndarray]:
    """The best variances along the gap, of class 0 and 1, for each amount across on class 0."""
    gap, u, v, p, d = classes
    left = power - (1 - p) * (d - 1) * across
    total = left + (1 - p) * u + p * v
    ratio = np.sqrt((total + (1 - p) * gap) / (total + p * gap))
    negative = np.clip(total / ((1 - p) + p * ratio) - u, across, np.maximum(left / (1 - p), across))
    return negative, np.maximum(left - (1 - p) * negative, 0) / p


def _value(classes: TwoClasses, across: np.ndarray, negative: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Twice the divergence plus 2d; infinite where one class has no spread in a direction in which the other has."""
    gap, u, v, _, d = classes
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (u + across) / v if v > 0 else np.ones_like(across)
        a, b = u + negative, v + positive
        value = (d - 1) * (ratio + 1 / ratio) + (a + gap) / b + (b + gap) / a
    return np.where(np.isnan(value), np.inf, value)
