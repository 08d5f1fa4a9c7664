"""The fed server's aggregation where the updates lie in column shards: they poison, the rule runs here and asks them
for sums and maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from raysplit.aggregation.across import ReductionRequest, shard_bounds
from raysplit.aggregation.columns import Kernel, added
from raysplit.aggregation.fed_server import AggregationResult, aggregate
from raysplit.aggregation.poisoning import Poisoned
from raysplit.aggregation.sharding.reduction import Done, run_in_lockstep
from raysplit.aggregation.task import AggregationTask


class Shards(Protocol):
    """All shards of a round, wherever they are, in the order of their columns. ``vectors``: for each shard its columns
    of each vector."""

    @property
    def count(self) -> int: ...

    def resume_poisoning(self, total: torch.Tensor | None) -> Sequence[ReductionRequest | Done]:
        """``ColumnShard.resume_poisoning`` of every shard."""
        ...

    def total(self, kernel: Kernel, vectors: Sequence[Sequence[torch.Tensor]]) -> list[list[torch.Tensor]]:
        """``ColumnShard.total`` of every shard."""
        ...

    def map(self, kernel: Kernel, vectors: Sequence[Sequence[torch.Tensor]]) -> list[torch.Tensor]:
        """``ColumnShard.map`` of every shard."""
        ...


@dataclass(frozen=True, eq=False)
class ShardedColumns:
    """Updates [n, d] of which this process holds none: the ``Columns`` that a rule is given."""

    shards: Shards
    shape: tuple[int, int]

    def total(self, kernel: Kernel, *vectors: torch.Tensor) -> torch.Tensor:
        parts = self.shards.total(kernel, self._cut(vectors))
        return added(part for of_shard in parts for part in of_shard)

    def map(self, kernel: Kernel, *vectors: torch.Tensor) -> torch.Tensor:
        return torch.cat(self.shards.map(kernel, self._cut(vectors)), dim=-1)

    def _cut(self, vectors: Sequence[torch.Tensor]) -> list[list[torch.Tensor]]:
        bounds = shard_bounds(self.shape[1], self.shards.count)
        return [[vector[..., first:last] for vector in vectors] for first, last in bounds]


def aggregate_sharded(task: AggregationTask, shards: Shards) -> AggregationResult:
    """Poison and aggregate the updates of ``shards`` that have received all rows of ``task``. Raises ``ScenarioError``
    as the attack and the rule do."""
    columns = ShardedColumns(shards, (len(task.positions), task.parameters))
    return aggregate(task, columns, _poison(shards))


def _poison(shards: Shards) -> Poisoned:
    """Poison in all shards; their buffers side by side, and the longest of their times."""
    poisoned: list[Poisoned] = run_in_lockstep(shards.resume_poisoning)
    attacks = [one.attack for one in poisoned if one.attack is not None]
    attack = {**attacks[0], "seconds": max(row["seconds"] for row in attacks)} if attacks else None
    return Poisoned(attack, torch.cat([one.buffers for one in poisoned]))
