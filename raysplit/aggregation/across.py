"""Numbers over *all* columns of a round's updates, whether one process holds them or each column shard some.

A shard holds all n rows and a run of the d columns, and every shard carries out the same attack on its own columns.
Where the attack needs a number over all columns (a norm, a Gram matrix, a largest value), it takes it through
``Across``: in a shard that is an all-reduce, which waits until every shard has given its part. An attack that decides
by such numbers alone decides the same in every shard.

Sums over columns, here and in ``columns.py``, are taken over ``STRIPES`` stripes, cut by d alone, and added in their
order; a shard holds whole stripes. So sums, like everything that is done column by column, have the same bits in one
process and in any number of shards.
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
"""Also the largest number of shards."""
STREAM_COLUMNS = 1 << 16
"""How many columns' random numbers come from one stream: a shard draws none but its own and those that share its first
and its last stream."""


@dataclass(frozen=True)
class ReductionRequest:
    """One shard's part in an all-reduce: the sum of the ``parts`` of all shards, one a stripe, or their largest,
    element by element."""

    kind: Literal["sum", "max"]
    parts: list[torch.Tensor]


def reduce(requests: Sequence[ReductionRequest]) -> torch.Tensor:
    """The sum or the maximum of all parts, from one request a shard in the order of their columns.

    Raises ``RuntimeError`` where shards ask for different kinds: something decided by its own columns alone.
    """
    if len({request.kind for request in requests}) != 1:
        raise RuntimeError("column shards fell out of step: a rule or an attack decided by its own columns alone")
    parts = [part for request in requests for part in request.parts]
    total = parts[0].clone()
    for part in parts[1:]:
        total = total.add_(part) if requests[0].kind == "sum" else torch.maximum(total, part)
    return total


AllReduce = Callable[[ReductionRequest], torch.Tensor]
"""Gives this shard's part and returns the reduction over all shards, once every one has given its own."""


@dataclass(frozen=True)
class Across:
    """The columns from ``first`` on of ``total``; without ``total`` all of them. ``all_reduce``: how to reduce over all
    shards; None: all columns are here."""

    first: int = 0
    total: int | None = None
    all_reduce: AllReduce | None = None

    def stripes(self, width: int) -> list[slice]:
        """The stripes of the ``width`` columns that are held here, as slices of these."""
        return stripes_of(width if self.total is None else self.total, self.first, width)

    def sum(self, width: int, of: Callable[[slice], torch.Tensor]) -> torch.Tensor:
        """Σ ``of``(stripe) over the stripes of all columns. ``width``: columns held here; ``of``: a tensor of any one
        shape for a slice of them."""
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
        result = torch.empty(rows, width)
        for block in range(self.first // STREAM_COLUMNS, -(-(self.first + width) // STREAM_COLUMNS)):
            start = block * STREAM_COLUMNS
            here = numbers(stream(seed, "columns", block), (rows, min(STREAM_COLUMNS, total - start)))
            first, last = max(start, self.first), min(start + here.shape[1], self.first + width)
            result[:, first - self.first : last - self.first] = torch.from_numpy(here[:, first - start : last - start])
        return result

    def _reduced(self, request: ReductionRequest) -> torch.Tensor:
        return reduce([request]) if self.all_reduce is None else self.all_reduce(request)


ALL = Across()
"""All columns in this process."""


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
