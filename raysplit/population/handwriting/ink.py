"""Ink on paper: pen positions of many samples at once → 28 × 28 grey images.

Every pen position drops ink in proportion to the way that it stands for, spread by a cubic B-spline over 4 × 4
pixels; the paper saturates. Only additions, products and square roots of float64 in a fixed order are used, so the
bytes do not depend on threads, vector width or batch.
"""

from __future__ import annotations

import numpy as np

SIDE = 28
REACH = 12.4
"""Pixels from the centre that a pen may reach, so that its 4 × 4 drop stays on the paper."""

_FOOTPRINT = (np.arange(4)[:, None] * SIDE + np.arange(4)).reshape(4, 4, 1, 1)


def _spline(fraction: np.ndarray) -> np.ndarray:
    """Cubic B-spline weights of the four pixels about a position: [4, ...], summing to one."""
    rest = 1.0 - fraction
    square, rest_square = fraction * fraction, rest * rest
    outer, inner = rest_square * rest * (1 / 6), square * fraction * (1 / 6)
    left = 2 / 3 - square + 0.5 * square * fraction
    return np.stack([outer, left, 1.0 - outer - left - inner, inner])


def fit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The shrinkage in (0, 1], [n, 1], that brings each sample's pen path [n, P] within reach of the paper."""
    far = np.maximum(np.abs(x).max(1, keepdims=True), np.abs(y).max(1, keepdims=True))
    return np.minimum(1.0, REACH / np.maximum(far, 1e-9))


def draw(x: np.ndarray, y: np.ndarray, drop: np.ndarray, darkness: np.ndarray) -> np.ndarray:
    """Images uint8 [n, 28, 28], paper 255 and full ink 0.

    ``x``, ``y``: pen positions in pixels about the centre, [n, P], within ``REACH``; ``drop``: ink of each position
    (pixels of way × flow), [n, P]; ``darkness``: [n], the ink of a saturated pixel in 0 … 1.
    """
    n = len(x)
    column, row = x + (SIDE - 1) / 2, y + (SIDE - 1) / 2
    left, top = np.floor(column), np.floor(row)
    across, down = _spline(column - left), _spline(row - top) * drop
    corner = ((top - 1) * SIDE + (left - 1)).astype(np.int64) + (np.arange(n) * (SIDE * SIDE))[:, None]
    cells = (corner + _FOOTPRINT).ravel()
    drops = (down[:, None] * across).ravel()
    ink: np.ndarray = np.bincount(cells, weights=drops, minlength=n * SIDE * SIDE).reshape(n, SIDE * SIDE)
    np.minimum(ink, 1.0, out=ink)
    ink *= (-255.0 * darkness)[:, None]
    ink += 255.5  # the half rounds
    return ink.astype(np.uint8).reshape(n, SIDE, SIDE)
