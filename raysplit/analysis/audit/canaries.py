"""Canaries in gradient space (Nasr et al. 2023, arXiv 2302.07956): gradients of samples that nobody has, put among those
of a batch's own samples before any is clipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from raysplit import rng
from raysplit.defenses.privacy.noisy_sum import PrivateSum
from raysplit.protocols.batching import Batching
from raysplit.training.per_example.examples import Examples

Side = Literal["client", "server"]
Key = tuple[int, int, int, int]
"""(seed, round, client, step)"""


@dataclass(frozen=True)
class Direction:
    """Unit vectors of a flat portion, a row a canary: ``values`` [c, w] at ``positions`` int64 [c, w], 0 elsewhere."""

    positions: torch.Tensor
    values: torch.Tensor

    def along(self, vector: torch.Tensor) -> np.ndarray:
        """⟨vector, each of them⟩, float64 [c]."""
        found: np.ndarray = (vector.double()[self.positions] * self.values.double()).sum(1).numpy()
        return found


@dataclass(frozen=True)
class Canaries:
    """``per_client`` canaries of every client, each in or out for good by a fair coin.

    ``kind``: ``"dirac"``, one parameter of its own a canary; ``"random"``, a random direction. ``norm``: of a canary
    before it is clipped. A canary that is in is sampled as any sample is: with ``batching.rate`` into each batch with
    that probability, else into one batch of an epoch, the first; ``samples``: how many a client has.
    """

    seed: int
    per_client: int
    kind: Literal["dirac", "random"]
    norm: float
    batching: Batching
    samples: Callable[[int], int]
    _known: dict[tuple[int, Side], Direction] = field(default_factory=dict)

    def coins(self, client: int) -> np.ndarray:
        """Bool [c]: which are in."""
        return rng.stream(self.seed, "audit_coins", client).random(self.per_client) < 0.5

    def batch(self, key: Key) -> np.ndarray:
        """The canaries that are in, and in the batch of a step; int64."""
        _, round, client, step = key
        there = self.coins(client)
        if self.batching.rate is None:
            return np.flatnonzero(there & (step % self.batching.steps(self.samples(client)) == 0))
        drawn = rng.stream(self.seed, "audit_batches", round, client, step).random(self.per_client)
        return np.flatnonzero(there & (drawn < self.batching.rate))

    def direction(self, client: int, side: Side, parameters: int) -> Direction:
        """Those of a client in a portion of so many ``parameters``."""
        if (client, side) not in self._known:
            self._known[client, side] = self._direction(client, side, parameters)
        return self._known[client, side]

    def _direction(self, client: int, side: Side, parameters: int) -> Direction:
        stream = rng.stream(self.seed, f"audit_{side}_direction", client)
        if self.kind == "random":
            drawn = torch.from_numpy(stream.standard_normal((self.per_client, parameters)))
            everywhere = torch.arange(parameters).expand(self.per_client, parameters)
            return Direction(everywhere, drawn / drawn.norm(dim=1, keepdim=True))
        chosen = stream.choice(parameters, self.per_client, replace=False)
        return Direction(torch.from_numpy(chosen)[:, None], torch.ones(self.per_client, 1, dtype=torch.float64))


@dataclass(frozen=True)
class InsertedSum:
    """``inner`` as it is, of a batch's own samples and the canaries that are in it."""

    inner: PrivateSum
    canaries: Canaries
    side: Side

    def of(
        self,
        examples: Examples | None,
        parameters: Sequence[torch.Tensor],
        layers: Sequence[str],
        size: int,
        key: Key,
    ) -> list[torch.Tensor]:
        chosen = self.canaries.batch(key)
        if not len(chosen) or not parameters:
            return self.inner.of(examples, parameters, layers, size, key)
        floats = sum(parameter.numel() for parameter in parameters)
        direction = self.canaries.direction(key[2], self.side, floats)
        rows = CanaryExamples(direction, torch.from_numpy(chosen), self.canaries.norm, parameters)
        # Where batches are shuffled the sizes are public: a canary that is out is a sample whose gradient is zero.
        counted = size if self.canaries.batching.rate is None else size + len(chosen)
        return self.inner.of(WithExamples(examples, rows), parameters, layers, counted, key)


class CanaryExamples:
    """Gradients of the ``chosen`` canaries, ``norm`` times their direction, as those of samples."""

    def __init__(
        self, direction: Direction, chosen: torch.Tensor, norm: float, parameters: Sequence[torch.Tensor]
    ) -> None:
        self._parameters = parameters
        self._positions = direction.positions[chosen]
        self._values = (direction.values[chosen] * norm).to(parameters[0].dtype)
        ends = torch.tensor([parameter.numel() for parameter in parameters]).cumsum(0)
        self._owner = torch.bucketize(self._positions, ends, right=True)  # the parameter of each number, [c, w]

    def squared_norms(self) -> torch.Tensor:
        norms = self._values.new_zeros(len(self._values), len(self._parameters))
        return norms.scatter_add_(1, self._owner, self._values.square())

    def weighted_sums(self, weights: torch.Tensor) -> list[torch.Tensor]:
        flat = self._values.new_zeros(sum(parameter.numel() for parameter in self._parameters))
        moved = self._values * weights.cpu().gather(1, self._owner)
        flat.index_add_(0, self._positions.flatten(), moved.flatten())
        sums, begin = [], 0
        for parameter in self._parameters:
            total = torch.zeros_like(parameter)  # in the parameter's order of memory, which is the portion's
            torch.as_strided(total, (total.numel(),), (1,)).copy_(flat[begin : begin + total.numel()])
            sums.append(total)
            begin += total.numel()
        return sums


class WithExamples:
    """A batch's own samples, None: it has none, and canaries after them."""

    def __init__(self, own: Examples | None, canaries: CanaryExamples) -> None:
        self._own, self._canaries = own, canaries
        self._count = 0

    def squared_norms(self) -> torch.Tensor:
        canaries = self._canaries.squared_norms()
        if self._own is None:
            return canaries
        own = self._own.squared_norms()
        self._count = len(own)
        return torch.cat([own, canaries.to(own)])

    def weighted_sums(self, weights: torch.Tensor) -> list[torch.Tensor]:
        sums = self._canaries.weighted_sums(weights[self._count :])
        if self._own is None:
            return sums
        return [a + b for a, b in zip(self._own.weighted_sums(weights[: self._count]), sums, strict=True)]
