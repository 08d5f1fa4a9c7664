"""Clients of very different sizes, each with the pool's distribution."""

from __future__ import annotations

import numpy as np

from raysplit import rng
from raysplit.parts.part import part, within
from raysplit.population.partition.partitioner import Follows, hand_out, largest_remainder
from raysplit.population.partition.pool import Pool


@part
class QuantitySkew:
    """Sizes in proportion to q ~ Dir_K(``alpha``), samples at random (Li et al. 2022, NIID-Bench, "quantity skew").

    The smaller ``alpha``, the fewer clients have nearly everything; a share has mean 1/K and variance (K -
    1)/(K²(K·alpha + 1)).
    """

    alpha: float

    def __post_init__(self) -> None:
        within("QuantitySkew.alpha", self.alpha, 1e-4, 1e6)

    @property
    def follows(self) -> Follows:
        return "sizes"

    def deal(self, pool: Pool, clients: int, seed: int) -> np.ndarray:
        stream = rng.stream(seed, "partition", 0)
        return _dealt(pool, stream.dirichlet(np.full(clients, self.alpha)), stream)


@part
class LogNormalSizes:
    """Sizes in proportion to exp(``sigma``·N(0, 1)), samples at random (as in the synthetic sets of Li et al. 2020,
    FedProx).

    The median client has 1/√(1 + cv²) of the mean size, with cv² = exp(sigma²) - 1.
    """

    sigma: float = 1.0

    def __post_init__(self) -> None:
        within("LogNormalSizes.sigma", self.sigma, 0, 10)

    @property
    def follows(self) -> Follows:
        return "sizes"

    def deal(self, pool: Pool, clients: int, seed: int) -> np.ndarray:
        stream = rng.stream(seed, "partition", 0)
        return _dealt(pool, np.exp(self.sigma * stream.standard_normal(clients)), stream)


def _dealt(pool: Pool, shares: np.ndarray, stream: np.random.Generator) -> np.ndarray:
    owner = np.empty(pool.samples, dtype=np.int32)
    hand_out(np.arange(pool.samples), largest_remainder(pool.samples, shares, stream), owner, stream)
    return owner
