"""Splitting one client's samples into a training and a test set, as LEAF does: nine tenths to train, order kept."""

from __future__ import annotations

import numpy as np

from raysplit.population.arrow_writer import ClientData
from raysplit.rng import stream


def split_client(name: str, x: np.ndarray, y: np.ndarray, *, seed: int) -> ClientData:
    """``x`` uint8 [n, C, H, W] and ``y`` [n], split by a stream that belongs to this client's name alone.

    The training set has floor(0.9 n) samples but at least one, and the samples keep their order; so a client's split
    does not depend on which other clients there are. A client of one sample trains on it and has no test set (LEAF
    leaves such clients out).
    """
    train = max(1, len(y) * 9 // 10)
    chosen = np.zeros(len(y), dtype=bool)
    chosen[stream(seed, f"data_prep split {name}").permutation(len(y))[:train]] = True
    return ClientData(name, x[chosen], y[chosen], x[~chosen], y[~chosen])
