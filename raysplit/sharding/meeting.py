"""The fed server's turn where the updates lie in column shards: they poison, the rule runs here and asks them for sums and maps."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from raysplit.across import Asked, shard_bounds
from raysplit.defenses.aggregation.columns import Kernel, added
from raysplit.defenses.aggregation.geometry import Geometry
from raysplit.fed_server import Faced, judge
from raysplit.sharding.conversation import Done, converse
from raysplit.sharding.sitting import Sitting


class Shards(Protocol):
    """All shards of a round, wherever they are, in the order of their columns. ``vectors``: of each shard its columns of each vector."""

    def say(self, total: torch.Tensor | None) -> Sequence[Asked | Done]:
        """Go on with the poisoning, see ``ColumnShard.say``."""
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
class Met:
    """What the fed server made of a round's updates: ``faced`` of the parameters, and the weighted mean change of the ``buffers``, [b]."""

    faced: Faced
    buffers: torch.Tensor


def hold(sitting: Sitting, shards: Shards, count: int) -> Met:
    """The meeting of ``count`` shards that have all rows of ``sitting``. Raises ``ScenarioError`` as the attack and the rule do."""
    poisoned = converse(shards.say)
    row = poisoned[0].row
    if row is not None:
        row = {**row, "seconds": max(one.row["seconds"] for one in poisoned)}
    draw = copy.deepcopy(sitting.context.rng)  # should the round be played again, it begins with the same numbers
    if sitting.attack is not None:
        draw.integers(1 << 62)  # the attack's seed, which the shards drew
    columns = ShardedColumns(
        shards, (len(sitting.positions), sitting.parameters), shard_bounds(sitting.parameters, count)
    )
    context = replace(sitting.context, rng=draw)
    faced = judge(sitting.rule, Geometry(columns), sitting.weights, sitting.malicious, context, row)
    return Met(faced, torch.cat([one.buffers for one in poisoned]))
