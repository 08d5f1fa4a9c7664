"""Ways to sample a round's cohort. A draw is a function of (seed, round, client) and of who can be sampled, of nothing
else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from raysplit import rng
from raysplit.parts.part import part, within


@dataclass(frozen=True)
class Crowd:
    """From whom a cohort is sampled: clients 0 … ``clients`` - 1.

    ``samples()``: training samples of each, int64 [clients]; only who asks pays for them. ``available``: bool
    [clients], who can take part in this round, or None for everybody.
    """

    clients: int
    samples: Callable[[], np.ndarray]
    available: np.ndarray | None = None

    def ids(self) -> np.ndarray:
        """Who can be sampled: int64, ascending."""
        if self.available is None:
            return np.arange(self.clients, dtype=np.int64)
        return np.flatnonzero(self.available).astype(np.int64)

    def among(self, clients: np.ndarray) -> np.ndarray:
        """Those of ``clients`` that can be sampled, in the same order."""
        return clients if self.available is None else clients[self.available[clients]]


@runtime_checkable
class Draw(Protocol):
    """A frozen dataclass; O(population) numpy time at most, so that a million clients are no burden."""

    def draw(self, size: int, seed: int, round: int, crowd: Crowd) -> np.ndarray:
        """The ids of a cohort in cohort order, none twice: int64. Randomness from streams named ``seed`` and ``round``
        (1-based)."""
        ...


@part
class Uniform:
    """``size`` clients without replacement, each set of that size equally likely (McMahan et al. 2017); all, where
    fewer are available."""

    def draw(self, size: int, seed: int, round: int, crowd: Crowd) -> np.ndarray:
        stream = rng.stream(seed, "cohort", round)
        if crowd.available is None:
            return np.sort(stream.choice(crowd.clients, size, replace=False, shuffle=False)).astype(np.int64)
        ids = crowd.ids()
        return np.sort(stream.choice(ids, min(size, len(ids)), replace=False, shuffle=False))


@part
class Weighted:
    """``size`` clients one after another without replacement, each with probability ∝ its training samples among those
    left.

    The first has exactly probability n_k/n; further ones make the inclusion of large clients somewhat less than
    proportional. Clients without samples are never sampled. By exponential clocks (Efraimidis & Spirakis 2006): the
    ``size`` smallest E_k/n_k.
    """

    def draw(self, size: int, seed: int, round: int, crowd: Crowd) -> np.ndarray:
        clocks = rng.stream(seed, "cohort", round).exponential(size=crowd.clients)
        samples = np.asarray(crowd.samples(), dtype=np.float64)
        ids = crowd.ids()
        ids = ids[samples[ids] > 0]
        if len(ids) > size:
            ids = ids[np.argpartition(clocks[ids] / samples[ids], size - 1)[:size]]
        return np.sort(ids)


@part
class FixedRing:
    """All clients are in one random order that never changes; a round takes the next ``size`` of it, and the end
    joins the start.

    The cohort keeps that order, which ``SplitLearning(ring="fixed")`` then follows. A round's window begins at (round -
    1)·size in the ring whoever is available; clients that are not are passed by, so that windows may overlap then.
    """

    def draw(self, size: int, seed: int, round: int, crowd: Crowd) -> np.ndarray:
        ring = rng.stream(seed, "ring").permutation(crowd.clients)
        return crowd.among(np.roll(ring, -((round - 1) * size % crowd.clients)))[:size]


@part
class RoundRobin:
    """Everybody takes part once before anybody takes part twice; every pass over the population is in a fresh random
    order.

    A pass has ⌈population / size⌉ rounds, whose cohorts differ by at most one client, so ``size`` is the most that a
    round samples. A client that is not available when it is due misses its round. ("Regularized participation",
    Malinovsky et al. 2023.)
    """

    def draw(self, size: int, seed: int, round: int, crowd: Crowd) -> np.ndarray:
        windows = -(-crowd.clients // size)
        number, window = divmod(round - 1, windows)
        order = rng.stream(seed, "round_robin", number).permutation(crowd.clients)
        window_clients = order[crowd.clients * window // windows : crowd.clients * (window + 1) // windows]
        return np.sort(crowd.among(window_clients))


@part
class Poisson:
    """Every client takes part with probability q, each for itself: cohort sizes are binomial (McMahan et al. 2018,
    DP-FedAvg).

    ``rate`` is q; None stands for size/population. ``Cohort.size`` is the mean size, q · population to the nearest
    client. A cohort may come out empty: then, as with fewer than ``Cohort.at_least`` clients, the round is passed over.
    """

    rate: float | None = None

    def __post_init__(self) -> None:
        if self.rate is not None:
            within("Poisson.rate", self.rate, 0, 1)

    def draw(self, size: int, seed: int, round: int, crowd: Crowd) -> np.ndarray:
        rate = size / crowd.clients if self.rate is None else self.rate
        taking_part = np.flatnonzero(rng.stream(seed, "cohort", round).random(crowd.clients) < rate)
        return crowd.among(taking_part.astype(np.int64))
