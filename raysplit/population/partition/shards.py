"""Sort by class, cut into shards, give every client some: the pathological split of the first FL paper."""

from __future__ import annotations

import numpy as np

from raysplit import rng
from raysplit.errors import PopulationError
from raysplit.parts.part import part, within
from raysplit.population.partition.partitioner import Follows, even
from raysplit.population.partition.pool import Pool


@part
class Shards:
    """The pool sorted by class, cut into clients · ``per_client`` shards of equal size, ±1, of which each client gets
    ``per_client``.

    McMahan et al. 2017, section 3 ("pathological non-IID": 200 shards of 300 digits, 2 a client). A shard holds one
    class and, where it lies across their border, the next ones too. Within a class samples are in random order. Raises
    ``PopulationError`` where there are more shards than samples.
    """

    per_client: int = 2

    def __post_init__(self) -> None:
        within("Shards.per_client", self.per_client, 1)

    @property
    def follows(self) -> Follows:
        return "labels"

    def deal(self, pool: Pool, clients: int, seed: int) -> np.ndarray:
        shards = clients * self.per_client
        if shards > pool.samples:
            raise PopulationError(
                f"Shards(per_client={self.per_client}) cannot cut {pool.samples} samples into {shards} shards; ask "
                "for fewer clients"
            )
        stream = rng.stream(seed, "partition", 0)
        by_class = np.lexsort((stream.permutation(pool.samples), pool.labels))
        owners = stream.permutation(np.repeat(np.arange(clients, dtype=np.int32), self.per_client))
        owner = np.empty(pool.samples, dtype=np.int32)
        owner[by_class] = np.repeat(owners, even(pool.samples, shards))
        return owner
