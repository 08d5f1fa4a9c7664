"""Canaries that are samples: outliers in clients' sets. They see what a gradient put in later does not: layers in which
the samples of a batch meet."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from raysplit import rng
from raysplit.parts.part import part
from raysplit.population.opening import open_population
from raysplit.population.population import PopulationSpec, Samples

Who = Literal["by_coin", "all", "none"]


def coin(seed: int, client: int) -> bool:
    """Whether a client's canary is in."""
    return bool(rng.stream(seed, "audit_coins", client).random() < 0.5)


@part
class WithCanarySamples(PopulationSpec):
    """``population`` with one training sample more, the last, at the clients ``who`` have it: by a fair coin each, all
    or none. The sample is ``value`` everywhere (of bytes: 255) and of class 0."""

    population: PopulationSpec
    who: Who
    seed: int
    value: float = 1000.0

    def open(self) -> OpenWithCanarySamples:
        return OpenWithCanarySamples(self)


class OpenWithCanarySamples:
    def __init__(self, spec: WithCanarySamples) -> None:
        self._spec = spec
        self._population = open_population(spec.population)
        self.info = self._population.info

    def train_sizes(self, clients: np.ndarray) -> np.ndarray:
        more = np.array([self._has(int(client)) for client in clients], dtype=np.int64)
        return self._population.train_sizes(clients) + more

    def test_sizes(self, clients: np.ndarray) -> np.ndarray:
        return self._population.test_sizes(clients)

    def train(self, client: int) -> Samples:
        own = self._population.train(client)
        if not self._has(client):
            return own
        value = 255 if own.x.dtype == torch.uint8 else self._spec.value
        canary = torch.full_like(own.x[:1], value)
        return Samples(torch.cat([own.x, canary]), torch.cat([own.y, torch.zeros_like(own.y[:1])]))

    def test(self, client: int) -> Samples:
        return self._population.test(client)

    def _has(self, client: int) -> bool:
        if client >= self.info.trainable:
            return False
        return self._spec.who == "all" or (self._spec.who == "by_coin" and coin(self._spec.seed, client))
