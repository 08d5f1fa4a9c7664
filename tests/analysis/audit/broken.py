"""Three mistakes that published code makes, each of which voids the ε that the accountant gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from raysplit.defenses.privacy.noisy_sum import NoisySum
from raysplit.models.network import ModelSpec
from raysplit.parts.part import part
from raysplit.population.population import PopulationInfo, PopulationSpec, Samples
from raysplit.training.per_example.examples import Examples

Key = tuple[int, int, int, int]


@dataclass(frozen=True)
class NoiseBeforeClipping:
    """Noise goes into each sample's gradient, and is clipped away with it: a large sample's drowns it."""

    real: NoisySum

    def of(
        self,
        examples: Examples | None,
        parameters: Sequence[torch.Tensor],
        layers: Sequence[str],
        size: int,
        key: Key,
    ) -> list[torch.Tensor]:
        flat = sum(parameter.numel() for parameter in parameters)
        norm, deviation = self.real.max_norm or 0.0, self.real.deviation(size)
        generator = torch.Generator().manual_seed(hash(key) % 2**31)
        total = [torch.zeros_like(parameter) for parameter in parameters]
        rows = 0 if examples is None else len(examples.squared_norms())
        for i in range(rows):
            assert examples is not None
            chosen = torch.zeros(rows, len(parameters), dtype=parameters[0].dtype)
            chosen[i] = 1
            drawn = torch.split(torch.randn(flat, generator=generator), [p.numel() for p in parameters])
            noisy = [
                g + deviation * some.view(g.shape)
                for g, some in zip(examples.weighted_sums(chosen), drawn, strict=True)
            ]
            factor = min(1.0, norm / float(torch.cat([g.flatten() for g in noisy]).norm()))
            total = [t + factor * g for t, g in zip(total, noisy, strict=True)]
        return [t / self.real.divisor for t in total]


@dataclass(frozen=True)
class DividedByTheBatch:
    """The sum is divided by how many samples the batch has, which Poisson sampling is to keep secret."""

    real: NoisySum

    def of(
        self,
        examples: Examples | None,
        parameters: Sequence[torch.Tensor],
        layers: Sequence[str],
        size: int,
        key: Key,
    ) -> list[torch.Tensor]:
        found = self.real.of(examples, parameters, layers, size, key)
        return [g * self.real.divisor / max(size, 1) for g in found]


class OwnBatchNorm(nn.Module):
    """Batch norm that no check knows by its class: the samples of a batch meet in it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - x.mean(0)) / (x.std(0, unbiased=False) + 1e-3)


@part
class MeetingSamples(ModelSpec):
    """Two linear layers without biases behind batch norm (``meet``), or behind nothing."""

    meet: bool
    cut: str | None = None
    tail: str | None = None

    @property
    def cuts(self) -> Mapping[str, str]:
        return {"V1": "first"}

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (1, 4, 4)

    @property
    def classes(self) -> int:
        return 3

    def stages(self) -> list[tuple[str, nn.Module]]:
        norm = [OwnBatchNorm()] if self.meet else []
        return [
            ("first", nn.Sequential(nn.Flatten(), *norm, nn.Linear(16, 6, bias=False), nn.Tanh())),
            ("second", nn.Linear(6, 3, bias=False)),
        ]


@part
class FloatClients(PopulationSpec):
    """Standard normal samples, which the network sees as they are, all of one class."""

    clients: int
    samples: int

    def open(self) -> OpenFloatClients:
        return OpenFloatClients(self)


class OpenFloatClients:
    def __init__(self, spec: FloatClients) -> None:
        self.spec = spec
        self.info = PopulationInfo("floats", spec.clients, 3, (1, 4, 4), True, repr(spec), dtype="float32")

    def train_sizes(self, clients: np.ndarray) -> np.ndarray:
        return np.full(len(clients), self.spec.samples, dtype=np.int64)

    def test_sizes(self, clients: np.ndarray) -> np.ndarray:
        return np.ones(len(clients), dtype=np.int64)

    def train(self, client: int) -> Samples:
        generator = torch.Generator().manual_seed(client)
        x = torch.randn(self.spec.samples, 1, 4, 4, generator=generator)
        return Samples(x, torch.zeros(self.spec.samples, dtype=torch.int64))

    def test(self, client: int) -> Samples:
        first = self.train(client)
        return Samples(first.x[:1], first.y[:1])
