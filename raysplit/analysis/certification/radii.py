"""Radii within which a prediction by expected scores cannot change, from bounds of the scores.

``low``: a lower bound of the predicted class's expected score; ``high``: an upper bound of every other one's. ``scale``:
σ/Δ or b/Δ, the noise's over the sensitivity of the layers before it, in the units of the input's norm. A radius is 0
where nothing is certified.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtri  # type: ignore[import-untyped]

LARGEST_DELTA = 0.4
"""The proof of the Gaussian mechanism (Dwork and Roth 2014, appendix A) takes √(2 ln(1.25/δ)) ≥ 3/2."""
_EPSILONS = np.linspace(0, 1, 4001)[1:]
_INWARD = 1 - 1e-9
"""A tie at the radius itself is no certificate."""


def laplace_radius(low: float, high: float, scale: float) -> float:
    """b/Δ · ln(low/high)/2: the largest L with low > e^{2ε} high at ε = Δ L / b (Lecuyer et al. 2019, proposition 2)."""
    if low <= high:
        return 0.0
    return scale * math.log(low / max(high, 1e-300)) / 2 * _INWARD


def gaussian_radius(low: float, high: float, scale: float) -> float:
    """The largest L = ε σ/Δ / √(2 ln(1.25/δ)) over ε in (0, 1] and δ with low > e^{2ε} high + (1 + e^ε) δ (Lecuyer et
    al. 2019, proposition 2); any ε tried gives a valid one, and 4,000 are."""
    deltas = np.minimum((low - np.exp(2 * _EPSILONS) * high) / (1 + np.exp(_EPSILONS)), LARGEST_DELTA)
    allowed = deltas > 0
    if not allowed.any():
        return 0.0
    lengths = _EPSILONS[allowed] / np.sqrt(2 * np.log(1.25 / deltas[allowed]))
    return float(lengths.max()) * scale * _INWARD


def smoothing_radius(low: float, high: float, scale: float) -> float:
    """σ/Δ · (Φ⁻¹(low) − Φ⁻¹(high))/2 (Cohen, Rosenfeld and Kolter 2019, theorem 1): what Gaussian noise guarantees
    without going through (ε, δ).

    Theirs is for noise on the input, Δ = 1. Behind layers that move outputs by Δ at most per unit of input, the noise
    smooths what follows them, and a ball of radius r becomes part of one of radius Δ r. For scores in [0, 1] in place of
    votes: Salman et al. 2019, lemma 2.
    """
    if low <= high:
        return 0.0
    return scale * float(ndtri(min(low, 1 - 1e-16)) - ndtri(max(high, 1e-300))) / 2 * _INWARD


def radius_in(radius: float, norm: float, asked: float, numbers: int) -> float:
    """A ball of ``norm`` and this radius holds one of the ``asked`` norm and the radius that is given back; ``numbers``:
    of an input. ‖α‖_p ≤ ‖α‖_q for p ≥ q, else ‖α‖_p ≤ n^{1/p − 1/q} ‖α‖_q."""
    return radius if asked <= norm else radius / float(numbers) ** (1 / norm - 1 / asked)
