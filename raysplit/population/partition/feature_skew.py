"""Feature skew: the same classes look different at different clients. Samples are changed when they are read."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import numpy as np

from raysplit.parts.part import part, within


@runtime_checkable
class FeatureSkew(Protocol):
    """A frozen dataclass; the same client always sees the same bytes."""

    def change(self, x: np.ndarray, client: int, clients: int, stream: np.random.Generator) -> np.ndarray:
        """All of one client's samples, uint8 or float32 [n, C, H, W], as that client sees them; ``x`` stays as it
        is."""
        ...


@part
class NoiseLevels:
    """Client k of K adds Gaussian noise of sd ``sd``·(k + 1)/K. Bytes: in units of their full range, rounded and
    clipped.

    Float32 samples: in their own units. Li et al. 2022, NIID-Bench, "noise-based feature imbalance" (there the variance
    grows so; here the standard deviation does).
    """

    sd: float = 0.1

    def __post_init__(self) -> None:
        within("NoiseLevels.sd", self.sd, 0, 10)

    def change(self, x: np.ndarray, client: int, clients: int, stream: np.random.Generator) -> np.ndarray:
        unit = 255 if x.dtype == np.uint8 else 1
        noise = stream.standard_normal(x.shape, dtype=np.float32) * np.float32(unit * self.sd * (client + 1) / clients)
        return _of_kind(x, x + noise)


@part
class Rotations:
    """Client k sees its images turned counter-clockwise by (k mod ``groups``)·360°/``groups`` about their centre.

    Bilinear; what comes in from outside continues the border. With 4 groups square images are turned exactly. (Rotated
    MNIST, as in Ghosh et al. 2020, IFCA.)
    """

    groups: int = 4

    def __post_init__(self) -> None:
        within("Rotations.groups", self.groups, 1, 360)

    def change(self, x: np.ndarray, client: int, clients: int, stream: np.random.Generator) -> np.ndarray:
        group = client % self.groups
        return x.copy() if group == 0 else rotated(x, 360 * group / self.groups)


def rotated(x: np.ndarray, degrees: float) -> np.ndarray:
    """``x``, [n, C, H, W], turned counter-clockwise about the centre, bilinear, borders continued."""
    height, width = x.shape[2:]
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    down, right = np.mgrid[:height, :width].astype(np.float64)
    down, right = down - (height - 1) / 2, right - (width - 1) / 2
    # Where in the source each pixel comes from; rows count downwards.
    row = np.clip(right * sine + down * cosine + (height - 1) / 2, 0, height - 1).round(9)
    column = np.clip(right * cosine - down * sine + (width - 1) / 2, 0, width - 1).round(9)
    top, left = np.floor(row).astype(int), np.floor(column).astype(int)
    bottom, far = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    lower, later = row - top, column - left
    above = x[:, :, top, left] * (1 - later) + x[:, :, top, far] * later
    below = x[:, :, bottom, left] * (1 - later) + x[:, :, bottom, far] * later
    return _of_kind(x, above * (1 - lower) + below * lower)


def _of_kind(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """``values`` in the type of ``x``; bytes rounded and clipped."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8) if x.dtype == np.uint8 else values.astype(x.dtype)
