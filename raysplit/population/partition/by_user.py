"""``by_user()``: LEAF's split by user (Caldas et al. 2018): some users train, the others are whom the model is tested
on."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable

import numpy as np
import torch

from raysplit import rng
from raysplit.errors import PopulationError
from raysplit.parts.canonical import to_json
from raysplit.parts.part import part, within
from raysplit.population.opening import open_population
from raysplit.population.population import PopulationInfo, PopulationSpec, Samples


@part
class ByUser(PopulationSpec):
    """``test_share`` of the clients of ``population`` never train, and the model is evaluated on all their samples.

    Of n clients floor((1 − test_share) · n) train, on all of their samples, training and test together; which ones
    follows from ``seed``. Clients that train come first, both in the order of the population. LEAF splits the samples
    of every user instead by default (``-t sample``), as prepared populations do.
    """

    population: PopulationSpec
    test_share: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        within("ByUser.test_share", self.test_share, 0, 1)

    def open(self) -> OpenByUser:
        """Open the population and deal its clients; raises ``PopulationError`` where one side would have none."""
        return OpenByUser(self)


def by_user(population: PopulationSpec, test_share: float = 0.1, seed: int = 0) -> ByUser:
    """The clients of a population, ``test_share`` of them unseen in training and tested on; see ``ByUser``."""
    return ByUser(population, test_share, seed)


class OpenByUser:
    """An open ``ByUser``: a ``Population`` with unseen clients. Pickling one opens it anew from its spec."""

    def __init__(self, spec: ByUser) -> None:
        self._spec = spec
        self._population = open_population(spec.population)
        whole = self._population.info
        if whole.unseen:
            raise PopulationError(f"population {whole.name!r} is split by user already; take it as it is")
        training = math.floor((1 - spec.test_share) * whole.clients + 1e-9)
        if not 0 < training < whole.clients:
            raise PopulationError(
                f"ByUser.test_share={spec.test_share:g} of the {whole.clients} clients of population {whole.name!r} leaves "
                f"{training} to train and {whole.clients - training} to test on; each needs one at least"
            )
        order = rng.stream(spec.seed, "split by user").permutation(whole.clients)
        self._training = training
        self._of = np.concatenate([np.sort(order[:training]), np.sort(order[training:])])
        form = {name: value for name, value in to_json(spec).items() if name != "population"}
        digest = hashlib.blake2b(b"raysplit split by user 1\n", digest_size=32)
        digest.update(json.dumps([whole.digest, form], sort_keys=True).encode())
        self._info = PopulationInfo(
            name=f"{whole.name}, by user",
            clients=whole.clients,
            classes=whole.classes,
            shape=whole.shape,
            synthetic=whole.synthetic,
            digest=digest.hexdigest(),
            description=f"{training} clients that train and {whole.clients - training} unseen ones of "
            f"{whole.description or whole.name}",
            dtype=whole.dtype,
            unseen=whole.clients - training,
        )

    def __reduce__(self) -> tuple[Callable[[ByUser], OpenByUser], tuple[ByUser]]:
        return OpenByUser, (self._spec,)

    @property
    def info(self) -> PopulationInfo:
        return self._info

    def train_sizes(self, clients: np.ndarray) -> np.ndarray:
        """Training samples of each of ``clients``: int64 [len(clients)], 0 of the unseen."""
        ids = self._checked(clients)
        return np.where(ids < self._training, self._all_sizes(ids), 0)

    def test_sizes(self, clients: np.ndarray) -> np.ndarray:
        """Test samples of each of ``clients``: int64 [len(clients)], 0 of those that train."""
        ids = self._checked(clients)
        return np.where(ids < self._training, 0, self._all_sizes(ids))

    def train(self, client: int) -> Samples:
        """All samples of a client that trains, its training set first; none of an unseen one."""
        return self._samples(client, client < self._training)

    def test(self, client: int) -> Samples:
        """All samples of an unseen client, its training set first; none of one that trains."""
        return self._samples(client, client >= self._training)

    def _all_sizes(self, ids: np.ndarray) -> np.ndarray:
        of = self._of[ids]
        return self._population.train_sizes(of) + self._population.test_sizes(of)

    def _samples(self, client: int, there: bool) -> Samples:
        of = int(self._of[self._checked(np.array([client]))[0]])
        train = self._population.train(of)
        if not there:
            return Samples(train.x[:0], train.y[:0])
        test = self._population.test(of)
        return Samples(torch.cat([train.x, test.x]), torch.cat([train.y, test.y]))

    def _checked(self, clients: np.ndarray) -> np.ndarray:
        ids = np.asarray(clients, dtype=np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= len(self._of)):
            raise IndexError(f"client ids must lie in 0..{len(self._of) - 1}")
        return ids
