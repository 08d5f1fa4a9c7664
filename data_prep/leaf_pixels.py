"""FEMNIST's samples in LEAF's json: a row of ``x`` is 784 numbers k/255, of ``y`` a class from 0 to 61."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_prep.leaf_json import SampleKind
from raysplit.errors import PopulationError

SIDE = 28
CLASSES = 62


def _read(where: str, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 [n, 1, 28, 28], exactly 255 times the numbers in the json, and labels int64 [n]."""
    labels = _labels(where, y)
    return _pixels(where, x), labels


def _labels(where: str, values: Any) -> np.ndarray:
    if not isinstance(values, list):
        raise PopulationError(f"{where} has labels that are not a list")
    for place, value in enumerate(values):
        if type(value) is not int or not 0 <= value < CLASSES:
            raise PopulationError(f"{where} has the label {value!r} at sample {place}, not a class in 0..{CLASSES - 1}")
    return np.asarray(values, dtype=np.int64)


def _pixels(where: str, rows: Any) -> np.ndarray:
    size = SIDE * SIDE
    if not isinstance(rows, list):
        raise PopulationError(f"{where} has images that are not a list")
    for place, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != size:
            count = len(row) if isinstance(row, list) else "no list of"
            raise PopulationError(f"{where} has {count} pixels in image {place}, not {size}")
    if not rows:
        return np.empty((0, 1, SIDE, SIDE), dtype=np.uint8)
    try:
        values = np.asarray(rows)
    except ValueError:
        values = np.asarray([])
    if values.dtype.kind not in "fiu" or values.shape != (len(rows), size):
        raise PopulationError(f"{where} has pixels that are not numbers")
    scaled = values.astype(np.float64) * 255.0
    scaled[~np.isfinite(scaled)] = -1.0
    whole = np.rint(scaled)
    # k/255 in float64 comes back to k within 1e-13; the tolerance is for files that were written with fewer digits.
    wrong = ~((whole >= 0) & (whole <= 255) & (np.abs(scaled - whole) < 1e-3))
    if wrong.any():
        image, pixel = (int(index) for index in np.argwhere(wrong)[0])
        raise PopulationError(
            f"{where} has the pixel {values[image, pixel]!s} (image {image}, pixel {pixel}), "
            "not k/255 for a whole k in 0..255"
        )
    return whole.astype(np.uint8).reshape(-1, 1, SIDE, SIDE)


PIXELS = SampleKind("images", _read)
