"""The pool at random: every client sees the same distribution."""

from __future__ import annotations

import numpy as np

from raysplit import rng
from raysplit.parts.part import part
from raysplit.population.partition.partitioner import Follows, even, hand_out
from raysplit.population.partition.pool import Pool


@part
class Iid:
    """A random permutation of the pool in pieces of equal size, ±1 (McMahan et al. 2017, section 3, "IID")."""

    @property
    def follows(self) -> Follows:
        return "sizes"

    def deal(self, pool: Pool, clients: int, seed: int) -> np.ndarray:
        owner = np.empty(pool.samples, dtype=np.int32)
        hand_out(np.arange(pool.samples), even(pool.samples, clients), owner, rng.stream(seed, "partition", 0))
        return owner
