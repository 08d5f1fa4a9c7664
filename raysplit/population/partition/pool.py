"""A population seen as one pool of samples, numbered in client order; read lazily, by number."""

from __future__ import annotations

import itertools
from functools import cached_property
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch

from raysplit.errors import PopulationError
from raysplit.population.population import Population, Samples

Part = Literal["train", "test"]


@runtime_checkable
class HasViews(Protocol):
    """A population on disk: one client's rows without a copy (``train_x`` [n, C, H, W], ``train_y`` [n], and for
    ``test_``)."""

    def views(self, client: int) -> Any: ...


@runtime_checkable
class HasLabels(Protocol):
    """A population that knows a client's labels without making its samples: [n]."""

    def labels(self, client: int, part: Part) -> np.ndarray: ...


def labels_of(population: Population, client: int, part: Part) -> np.ndarray:
    """Labels of one client, [n], by the cheapest way that the population has."""
    if isinstance(population, HasViews):
        return np.asarray(getattr(population.views(client), f"{part}_y"))
    if isinstance(population, HasLabels):
        return np.asarray(population.labels(client, part))
    return _tensors(population, client, part).y.numpy()


class Pool:
    """All training (or all test) samples of an open population: sample i is row i - offsets[k] of its client k.

    ``sizes``: int64 [pool clients]; ``offsets``: int64 [pool clients + 1].
    """

    def __init__(self, population: Population, part: Part) -> None:
        self._population, self._part = population, part
        ids = np.arange(population.info.clients, dtype=np.int64)
        self.sizes = np.asarray(population.train_sizes(ids) if part == "train" else population.test_sizes(ids))
        self.offsets = np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64)
        self.classes = population.info.classes

    @property
    def samples(self) -> int:
        return int(self.offsets[-1])

    @cached_property
    def labels(self) -> np.ndarray:
        """The class of every sample, int32 [samples]. Raises ``PopulationError`` for a label that is no class."""
        found = np.empty(self.samples, dtype=np.int32)
        for client in np.flatnonzero(self.sizes):
            found[self.offsets[client] : self.offsets[client + 1]] = labels_of(
                self._population, int(client), self._part
            )
        if found.size and (found.min() < 0 or found.max() >= self.classes):
            raise PopulationError(
                f"population {self._population.info.name!r} has a label outside 0..{self.classes - 1}; prepare it again"
            )
        return found

    def read(self, samples: np.ndarray) -> Samples:
        """The samples numbered ``samples``, int64 [n] ascending, as tensors of their own. Touches only the clients that
        own them."""
        info = self._population.info
        x = np.empty((len(samples), *info.shape), dtype=info.dtype)
        y = np.empty(len(samples), dtype=np.int64)
        for client, begin, end in self._runs(samples):
            rows = samples[begin:end] - self.offsets[client]
            if isinstance(self._population, HasViews):
                views = self._population.views(client)
                x[begin:end] = getattr(views, f"{self._part}_x")[rows]
                y[begin:end] = getattr(views, f"{self._part}_y")[rows]
            else:
                own_samples = _tensors(self._population, client, self._part)
                index = torch.from_numpy(rows)
                x[begin:end], y[begin:end] = own_samples.x[index].numpy(), own_samples.y[index].numpy()
        return Samples(torch.from_numpy(x), torch.from_numpy(y))

    def read_labels(self, samples: np.ndarray) -> np.ndarray:
        """The labels of those samples, int64 [n]."""
        y = np.empty(len(samples), dtype=np.int64)
        for client, begin, end in self._runs(samples):
            y[begin:end] = labels_of(self._population, client, self._part)[samples[begin:end] - self.offsets[client]]
        return y

    def _runs(self, samples: np.ndarray) -> list[tuple[int, int, int]]:
        """(pool client, begin, end): ``samples[begin:end]`` are that client's."""
        owners = np.searchsorted(self.offsets, samples, side="right") - 1
        begins = np.flatnonzero(np.diff(owners, prepend=-1))
        edges = [*begins.tolist(), len(samples)]
        return [(int(owners[begin]), begin, end) for begin, end in itertools.pairwise(edges)]


def _tensors(population: Population, client: int, part: Part) -> Samples:
    return population.train(client) if part == "train" else population.test(client)
