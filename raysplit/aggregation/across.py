"""What an attack needs to know of *all* columns of a round's updates, whether one process holds them or several hold
shards.

A shard holds all n rows and a run of the d columns, and every shard carries out the same attack on its own. Where it
needs a number over all columns (a norm, a Gram matrix, the largest of something), it takes it through ``Across``, which
in a shard stops until all have asked and been told. Whoever decides by such numbers alone decides the same in every
shard.

Sums over columns, here and in ``defenses/aggregation/columns.py``, are taken over ``STRIPES`` stripes, cut by d alone,
and added in their order; a shard holds whole stripes. So sums, like everything that is done column by column, have the
same bits in one process and in any number of shards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch

from raysplit.rng import stream

STRIPES = 16
"""Also the most shards that there can be."""
DRAWN_TOGETHER = 1 << 16
"""Columns whose random numbers come from one stream: a shard draws no others, but for those that share its first and
last stream."""


@dataclass(frozen=True)
class ReductionRequest:
    """What a shard asks for: the sum of ``parts``, one a stripe, or the largest, over all shards."""

    kind: Literal["sum", "max"]
    parts: list[torch.Tensor]


def answer(requests: Sequence[ReductionRequest]) -> torch.Tensor:
    """What all shards are told, from what each ``requests``, in the order of their columns."""
    if len({one.kind for one in requests}) != 1:
        raise RuntimeError("column shards fell out of step: a rule or an attack decided by its own columns alone")
    parts = [part for one in requests for part in one.parts]
    total = parts[0].clone()
    for part in parts[1:]:
        total = total.add_(part) if requests[0].kind == "sum" else torch.maximum(total, part)
    return total


@dataclass(frozen=True)
class Across:
    """Columns ``first`` … of ``total``; without ``total`` all of them. ``exchange`` hands over what is asked and waits
    for what is told."""

    first: int = 0
    total: int | None = None
    exchange: Callable[[ReductionRequest], torch.Tensor] | None = None

    def stripes(self, width: int) -> list[slice]:
        """The stripes of the ``width`` columns that are held here, as slices of these."""
        return stripes_of(width if self.total is None else self.total, self.first, width)

    def sum(self, width: int, of: Callable[[slice], torch.Tensor]) -> torch.Tensor:
        """Σ ``of``(stripe) over the stripes of all columns. ``width``: columns held here; ``of``: of a slice of them,
        any shape."""
        return self._reduced(ReductionRequest("sum", [of(stripe) for stripe in self.stripes(width)]))

    def square(self, vector: torch.Tensor) -> float:
        """‖vector‖² in float64 over all columns; ``vector``: its columns that are held here."""
        return float(self.sum(len(vector), lambda s: vector[s].double().square().sum()))

    def max(self, value: float) -> float:
        """The largest of the ``value`` of each shard; NaN if one is."""
        return float(self._reduced(ReductionRequest("max", [torch.tensor(value, dtype=torch.float64)])))

    def any(self, mask: torch.Tensor) -> bool:
        """Whether ``mask``, [columns held here], holds somewhere."""
        return self.max(float(mask.any())) > 0

    def normal(self, draw: np.random.Generator, rows: int, width: int) -> torch.Tensor:
        """Independent N(0, 1), float32 [rows, width], by column: the same numbers in whichever shard a column lies."""
        return self._drawn(draw, rows, width, lambda g, shape: g.standard_normal(shape, dtype=np.float32))

    def uniform(self, draw: np.random.Generator, rows: int, width: int) -> torch.Tensor:
        """The same of U[0, 1)."""
        return self._drawn(draw, rows, width, lambda g, shape: g.random(shape, dtype=np.float32))

    def _drawn(
        self,
        draw: np.random.Generator,
        rows: int,
        width: int,
        numbers: Callable[[np.random.Generator, tuple[int, int]], np.ndarray],
    ) -> torch.Tensor:
        seed, total = int(draw.integers(1 << 62)), width if self.total is None else self.total
        sampled = torch.empty(rows, width)
        for block in range(self.first // DRAWN_TOGETHER, -(-(self.first + width) // DRAWN_TOGETHER)):
            start = block * DRAWN_TOGETHER
            here = numbers(stream(seed, "columns", block), (rows, min(DRAWN_TOGETHER, total - start)))
            first, last = max(start, self.first), min(start + here.shape[1], self.first + width)
            sampled[:, first - self.first : last - self.first] = torch.from_numpy(here[:, first - start : last - start])
        return sampled

    def _reduced(self, requests: ReductionRequest) -> torch.Tensor:
        return answer([requests]) if self.exchange is None else self.exchange(requests)


ALL = Across()
"""All columns in one place."""


def stripes_of(total: int, first: int, width: int) -> list[slice]:
    """The stripes of ``total`` columns that lie within ``width`` of them from ``first`` on, as slices of these."""
    edges = [total * i // STRIPES - first for i in range(STRIPES + 1)]
    return [slice(a, b) for a, b in pairwise(edges) if 0 <= a < b <= width]


def shard_bounds(parameters: int, shards: int) -> list[tuple[int, int]]:
    """First column and the one after the last of each of ``shards`` shards of ``parameters`` columns: whole stripes,
    nearly evenly."""
    stripes = [STRIPES * i // shards for i in range(shards + 1)]
    edges = [parameters * i // STRIPES for i in stripes]
    return list(pairwise(edges))
