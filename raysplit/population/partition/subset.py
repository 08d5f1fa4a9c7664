"""``subset()``: a random part of a population as a pool, for experiments that cannot afford all of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import numpy as np

from raysplit import rng
from raysplit.errors import PopulationError
from raysplit.parts.canonical import to_json
from raysplit.parts.part import part, within
from raysplit.population.opening import open_population
from raysplit.population.partition.pool import Part, Pool
from raysplit.population.population import PopulationInfo, PopulationSpec, Samples


@part
class Subset(PopulationSpec):
    """``train`` training and ``test`` test samples of ``pool``, drawn without regard to labels or owners, as one
    client.

    The same spec gives the same samples; more of them contain fewer (the first ones of one fixed random order).
    """

    pool: PopulationSpec
    train: int
    test: int
    seed: int = 0

    def __post_init__(self) -> None:
        within("Subset.train", self.train, 1)
        within("Subset.test", self.test, 1)

    def open(self) -> OpenSubset:
        """Open the pool and draw; raises ``PopulationError`` where it has fewer samples."""
        return OpenSubset(self)


def subset(pool: PopulationSpec, train: int, test: int, seed: int = 0) -> Subset:
    """``train`` and ``test`` random samples of a population, as a pool of one client; see ``Subset``."""
    return Subset(pool, train, test, seed)


class OpenSubset:
    """An open ``Subset``: a ``Population`` of one client. Pickling one opens it anew from its spec."""

    def __init__(self, spec: Subset) -> None:
        self._spec = spec
        opened = open_population(spec.pool)
        self._pools: dict[Part, Pool] = {"train": Pool(opened, "train"), "test": Pool(opened, "test")}
        self._chosen: dict[Part, np.ndarray] = {}
        wanted: dict[Part, int] = {"train": spec.train, "test": spec.test}
        for number, name in enumerate(wanted):
            pool = self._pools[name]
            if wanted[name] > pool.samples:
                raise PopulationError(
                    f"Subset.{name} is {wanted[name]}, but population {opened.info.name!r} has {pool.samples} such "
                    "samples; take at most that many"
                )
            order = rng.stream(spec.seed, "subset", number).permutation(pool.samples)
            self._chosen[name] = np.sort(order[: wanted[name]])
        self._info = _described(spec, opened.info)

    def __reduce__(self) -> tuple[Callable[[Subset], OpenSubset], tuple[Subset]]:
        return OpenSubset, (self._spec,)

    @property
    def info(self) -> PopulationInfo:
        return self._info

    def train_sizes(self, clients: np.ndarray) -> np.ndarray:
        """Training samples of each of ``clients``: int64 [len(clients)]."""
        return np.full(len(_checked(clients)), self._spec.train, dtype=np.int64)

    def test_sizes(self, clients: np.ndarray) -> np.ndarray:
        """Test samples of each of ``clients``: int64 [len(clients)]."""
        return np.full(len(_checked(clients)), self._spec.test, dtype=np.int64)

    def train(self, client: int) -> Samples:
        """The training samples, in the order of the pool."""
        return self._read(client, "train")

    def test(self, client: int) -> Samples:
        """The test samples, in the order of the pool."""
        return self._read(client, "test")

    def labels(self, client: int, part: Part) -> np.ndarray:
        """Their labels, int64 [n], without reading them where the pool can do that."""
        _checked(np.array([client]))
        return self._pools[part].read_labels(self._chosen[part])

    def _read(self, client: int, part: Part) -> Samples:
        _checked(np.array([client]))
        return self._pools[part].read(self._chosen[part])


def _checked(clients: np.ndarray) -> np.ndarray:
    ids = np.asarray(clients, dtype=np.int64)
    if ids.size and ids.any():
        raise IndexError("a subset is one client, number 0")
    return ids


def _described(spec: Subset, pool: PopulationInfo) -> PopulationInfo:
    form = {name: value for name, value in to_json(spec).items() if name != "pool"}
    digest = hashlib.blake2b(b"raysplit subset 1\n", digest_size=32)
    digest.update(json.dumps([pool.digest, form], sort_keys=True).encode())
    return PopulationInfo(
        name=f"{pool.name}, a part",
        clients=1,
        classes=pool.classes,
        shape=pool.shape,
        synthetic=pool.synthetic,
        dtype=pool.dtype,
        digest=digest.hexdigest(),
        description=f"{spec.train} training and {spec.test} test samples drawn at random from {pool.description or pool.name}",
    )
