"""The fed server's turn where the updates lie in column shards: they poison, the rule runs here and asks them for sums
and maps."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from raysplit.aggregation.across import ReductionRequest, shard_bounds
from raysplit.aggregation.columns import Kernel, added
from raysplit.aggregation.fed_server import Aggregated, judge
from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.sharding.reduction import Done, run_reduction
from raysplit.aggregation.sharding.task import AggregationTask


class Shards(Protocol):
    """All shards of a round, wherever they are, in the order of their columns. ``vectors``: of each shard its columns
    of each vector."""

    def proceed(self, total: torch.Tensor | None) -> Sequence[ReductionRequest | Done]:
        """Go on with the poisoning, see ``ColumnShard.proceed``."""
        ...

    def total(self, kernel: Kernel, vectors: Sequence[Sequence[torch.Tensor]]) -> list[list[torch.Tensor]]: ...

    def map(self, kernel: Kernel, vectors: Sequence[Sequence[torch.Tensor]]) -> list[torch.Tensor]: ...


@dataclass(frozen=True, eq=False)
class ShardedColumns:
    """Updates [n, d] of which this process holds none: the ``Columns`` that a rule is given."""

    shards: Shards
    shape: tuple[int, int]
    bounds: list[tuple[int, int]]

    def total(self, kernel: Kernel, *vectors: torch.Tensor) -> torch.Tensor:
        parts = self.shards.total(kernel, self._cut(vectors))
        return added(part for of_shard in parts for part in of_shard)

    def map(self, kernel: Kernel, *vectors: torch.Tensor) -> torch.Tensor:
        return torch.cat(self.shards.map(kernel, self._cut(vectors)), dim=-1)

    def _cut(self, vectors: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
        return [[vector[..., first:last] for vector in vectors] for first, last in self.bounds]


@dataclass(frozen=True)
class ShardedAggregate:
    """What the fed server made of a round's updates: ``aggregated`` of the parameters, and the weighted mean change of
    the ``buffers``, [b]."""

    aggregated: Aggregated
    buffers: torch.Tensor


def aggregate_sharded(task: AggregationTask, shards: Shards, count: int) -> ShardedAggregate:
    """The meeting of ``count`` shards that have all rows of ``task``. Raises ``ScenarioError`` as the attack and the
    rule do."""
    poisoned = run_reduction(shards.proceed)
    row = poisoned[0].row
    if row is not None:
        row = {**row, "seconds": max(one.row["seconds"] for one in poisoned)}
    draw = copy.deepcopy(task.context.rng)  # should the round be played again, it begins with the same numbers
    if task.attack is not None:
        draw.integers(1 << 62)  # the attack's seed, which the shards drew
    columns = ShardedColumns(shards, (len(task.positions), task.parameters), shard_bounds(task.parameters, count))
    context = replace(task.context, rng=draw)
    aggregated = judge(task.rule, Geometry(columns), task.weights, task.malicious, context, row)
    return ShardedAggregate(aggregated, torch.cat([one.buffers for one in poisoned]))
