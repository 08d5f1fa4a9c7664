"""A toy of two classes, one rarer than the other, which a network learns in a few steps."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from raysplit.parts.part import part
from raysplit.population.population import PopulationInfo, PopulationSpec, Samples
from tests.toys import ToyCnn


@part
class TwoClassCnn(ToyCnn):
    """A ToyCnn of two classes."""

    @property
    def classes(self) -> int:
        return 2

    def stages(self):
        return [*super().stages()[:-1], ("fc2", nn.Linear(7, 2))]


@part
class RareClass(PopulationSpec):
    """``samples`` random images a client, of which a fifth is brighter: class 1."""

    clients: int = 2
    samples: int = 200

    def open(self):
        return OpenRareClass(self)


class OpenRareClass:
    def __init__(self, spec: RareClass) -> None:
        self.spec = spec
        self.info = PopulationInfo("rare class", spec.clients, 2, (1, 8, 8), True, repr(spec))

    def train_sizes(self, clients: np.ndarray) -> np.ndarray:
        return np.full(len(clients), self.spec.samples)

    test_sizes = train_sizes

    def train(self, client: int) -> Samples:
        generator = torch.Generator().manual_seed(client)
        y = (torch.rand(self.spec.samples, generator=generator) < 0.2).long()
        x = torch.randint(0, 200, (self.spec.samples, 1, 8, 8), generator=generator, dtype=torch.uint8)
        return Samples(x + (y * 55).to(torch.uint8).view(-1, 1, 1, 1), y)

    test = train
