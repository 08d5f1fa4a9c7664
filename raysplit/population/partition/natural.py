"""The clients that the data came with, kept or merged."""

from __future__ import annotations

import numpy as np

from raysplit import rng
from raysplit.errors import PopulationError
from raysplit.parts.part import part
from raysplit.population.partition.partitioner import Follows, even
from raysplit.population.partition.pool import Pool


@part
class Natural:
    """The pool's own clients; fewer clients are groups of them, drawn at random, equal in number of pool clients ±1.

    As many clients as the pool has: client k is pool client k. Raises ``PopulationError`` for more.
    """

    @property
    def follows(self) -> Follows:
        return "pool_clients"

    def deal(self, pool: Pool, clients: int, seed: int) -> np.ndarray:
        own = len(pool.sizes)
        if clients > own:
            raise PopulationError(f"Natural() cannot deal {clients} clients: the pool has {own}; ask for at most {own}")
        group = np.arange(own, dtype=np.int32)
        if clients < own:
            order = rng.stream(seed, "partition", 0).permutation(own)
            group[order] = np.repeat(np.arange(clients, dtype=np.int32), even(own, clients))
        return np.repeat(group, pool.sizes)
