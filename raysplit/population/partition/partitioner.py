"""What a partitioner is, and the exact arithmetic that all share: whole numbers that add up."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

import numpy as np

from raysplit.population.partition.pool import Pool

Follows = Literal["labels", "sizes", "pool_clients"]


@runtime_checkable
class Partitioner(Protocol):
    """A frozen dataclass: who gets which sample of a pool."""

    @property
    def follows(self) -> Follows:
        """What ``test="same"`` copies: each client's share of every class, its share of all, or whole pool clients."""
        ...

    def deal(self, pool: Pool, clients: int, seed: int) -> np.ndarray:
        """The client of every sample: an integer array [pool.samples] of values in 0 … ``clients`` - 1.

        One owner a sample, so that none can be lost or doubled; clients may come out empty. Deterministic in (pool,
        clients, seed), with randomness from ``rng.stream(seed, "partition", …)``. Raises ``PopulationError`` where the
        pool cannot be dealt so.
        """
        ...


def largest_remainder(total: int, shares: np.ndarray, stream: np.random.Generator) -> np.ndarray:
    """``total`` cut in proportion to ``shares``, [K] ≥ 0: int64 [K] that add up, each within 1 of its exact part.

    Equal remainders are ordered at random, so that no client is favoured by its number (Hamilton's method otherwise).
    """
    exact = total * (shares / shares.sum())
    counts = np.floor(exact).astype(np.int64)
    left = total - int(counts.sum())
    order = np.lexsort((stream.permutation(len(shares)), counts - exact))
    counts[order[:left]] += 1
    return counts


def unbiased(total: int, shares: np.ndarray, stream: np.random.Generator) -> np.ndarray:
    """As ``largest_remainder``, but with the exact part as mean: systematic sampling in random order.

    For few samples among many clients, where the largest remainders would always be the same clients'.
    """
    order = stream.permutation(len(shares))
    edges = np.cumsum(shares[order] / shares.sum()) * total
    stops = np.minimum(np.floor(edges + stream.random()).astype(np.int64), total)
    stops[-1] = total
    counts = np.empty(len(shares), dtype=np.int64)
    counts[order] = np.diff(stops, prepend=0)
    return counts


def even(total: int, parts: int) -> np.ndarray:
    """``total`` in ``parts`` sizes that differ by at most one: int64 [parts]."""
    edges = np.arange(parts + 1, dtype=np.int64) * total // parts
    return np.diff(edges)


def hand_out(samples: np.ndarray, counts: np.ndarray, owner: np.ndarray, stream: np.random.Generator) -> None:
    """Give client k ``counts[k]`` of ``samples`` at random: writes ``owner[samples]``."""
    owner[stream.permutation(samples)] = np.repeat(np.arange(len(counts), dtype=owner.dtype), counts)
