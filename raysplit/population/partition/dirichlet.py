"""Label skew by a Dirichlet distribution, in its two published forms."""

from __future__ import annotations

import numpy as np

from raysplit import rng
from raysplit.parts.part import part, within
from raysplit.population.partition.partitioner import Follows, even, hand_out, largest_remainder
from raysplit.population.partition.pool import Pool


@part
class Dirichlet:
    """Label skew: the smaller ``alpha``, the fewer classes a client has; ∞ would be IID.

    ``balanced=False``: for each class c the shares of the K clients are p_c ~ Dir_K(alpha), cut by largest remainder
    (Yurochkin et al. 2019, section 4; Li et al. 2022, NIID-Bench, "distribution-based label imbalance"). Sizes differ
    too. NIID-Bench draws anew until no client has fewer than 10 samples, and stops clients that have their fair share;
    neither is done here (see ``Partitioned.at_least``).

    ``balanced=True``: all clients have the same number of samples, ±1, and client k a class mix p_k ~ Dir_C(alpha) over
    the C classes of the pool (Hsu et al. 2019, section 3; their α is the sum, C·alpha, for a uniform prior). Clients
    are served in random order without replacement; a class that is used up falls out of the mixes of those that come
    later, so the last ones take what is left.
    """

    alpha: float
    balanced: bool = False

    def __post_init__(self) -> None:
        within("Dirichlet.alpha", self.alpha, 1e-4, 1e6)

    @property
    def follows(self) -> Follows:
        return "labels"

    def deal(self, pool: Pool, clients: int, seed: int) -> np.ndarray:
        owner = np.empty(pool.samples, dtype=np.int32)
        by_class = [np.flatnonzero(pool.labels == c) for c in range(pool.classes)]
        if self.balanced:
            counts = self._mixes(np.array([len(samples) for samples in by_class]), clients, seed)
        for c, samples in enumerate(by_class):
            stream = rng.stream(seed, "partition", c)
            if self.balanced:
                hand_out(samples, counts[:, c], owner, stream)
            elif len(samples):
                shares = stream.dirichlet(np.full(clients, self.alpha))
                hand_out(samples, largest_remainder(len(samples), shares, stream), owner, stream)
        return owner

    def _mixes(self, left: np.ndarray, clients: int, seed: int) -> np.ndarray:
        """How many of each class each client gets, [clients, classes], from ``left`` of each class."""
        stream = rng.stream(seed, "partition mixes")
        counts = np.zeros((clients, len(left)), dtype=np.int64)
        present = np.flatnonzero(left)
        sizes = even(int(left.sum()), clients)
        for client in stream.permutation(clients):
            mix = np.zeros(len(left))
            mix[present] = stream.dirichlet(np.full(len(present), self.alpha))
            need = int(sizes[client])
            # Every pass but the last uses up a class, so there are at most as many passes as classes, and one.
            while need:
                weights = np.where(left > 0, mix, 0.0)
                if weights.sum() <= 0:
                    weights = left.astype(float)
                taken = np.minimum(stream.multinomial(need, weights / weights.sum()), left)
                counts[client] += taken
                left = left - taken
                need -= int(taken.sum())
        return counts
