"""One column shard of the fed server: it takes in its columns of every portion, then poisons them and answers for
them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from raysplit.aggregation.across import ReductionRequest
from raysplit.aggregation.columns import Kernel, stripe_parts
from raysplit.aggregation.fed_server import poison
from raysplit.aggregation.order_statistics import weighted_sum
from raysplit.aggregation.sharding.reduction import CollectiveReduction, Done
from raysplit.aggregation.sharding.task import AggregationTask
from raysplit.errors import ScenarioError


@dataclass(frozen=True)
class Poisoned:
    """What becomes of a shard's rows before they are aggregated: the attack's ``row`` for the tables, if one was
    carried out, and the weighted mean change of the ``buffers``, [b], that lie in this shard."""

    row: dict[str, Any] | None
    buffers: torch.Tensor


class ColumnShard:
    """Holds U[:, columns] of one round at a time, [n, width]; the room is kept for the next round."""

    def __init__(self) -> None:
        self._matrix = torch.empty(0, 0)
        self._row_of: dict[int, int] = {}
        self._reduction: CollectiveReduction | None = None

    def gather(self, task: AggregationTask) -> None:
        """Make room for a round's rows; what was under way is dropped."""
        self.end()
        self._task = task
        shape = (len(task.positions), len(task.portion))
        if self._matrix.shape != shape or self._matrix.dtype != task.portion.dtype:
            self._matrix = torch.empty(0, 0)  # give the old room back first
            self._matrix = torch.empty(shape, dtype=task.portion.dtype)
        self._row_of = {position: row for row, position in enumerate(task.positions)}
        self._missing = set(task.positions)

    @property
    def complete(self) -> bool:
        """Whether all rows are in."""
        return not self._missing

    def room(self, position: int) -> torch.Tensor:
        """Where a client's portion is to be written, [width]; ``filled`` once it is."""
        return self._matrix[self._row_of[position]]

    def filled(self, position: int) -> None:
        """A client's portion is in its room: from here on it is an update."""
        self.room(position).sub_(self._task.portion)
        self._missing.discard(position)

    def proceed(self, total: torch.Tensor | None) -> ReductionRequest | Done:
        """Go on with the meeting, see ``CollectiveReduction``; its result is ``Poisoned``."""
        if self._reduction is None:
            self._reduction = CollectiveReduction(self._poison)
        return self._reduction.proceed(total)

    def end(self) -> None:
        """Drop a meeting that is under way."""
        if self._reduction is not None:
            self._reduction.end()
            self._reduction = None

    def total(self, kernel: Kernel, vectors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """What a rule's kernel makes of each stripe of the updates; ``vectors``: these columns of them."""
        stripes = self._task.across.stripes(self._task.parameters)
        return list(stripe_parts(self._updates, kernel, vectors, stripes))

    def map(self, kernel: Kernel, vectors: Sequence[torch.Tensor]) -> torch.Tensor:
        """What a column-wise kernel makes of these columns. Raises ``ScenarioError`` where that is as much as the
        updates themselves."""
        made = kernel(self._updates, *vectors)
        if made.dim() > 1 and len(made) >= len(self._updates) > 1:
            raise ScenarioError(
                f"{type(self._task.rule).__name__} asks for whole updates, which column shards do not bring together; "
                "leave --shards out"
            )
        return made

    @property
    def _updates(self) -> torch.Tensor:
        return self._matrix[:, : self._task.parameters]

    def _poison(self, exchange: Callable[[ReductionRequest], torch.Tensor]) -> Poisoned:
        task, row = self._task, None
        if task.attack is not None:
            across = replace(task.across, exchange=exchange)
            row = poison(task.attack, self._updates, task.malicious, task.rule, task.context, across=across)
        return Poisoned(row, weighted_sum(self._matrix[:, task.parameters :], task.weights))


class ShardsHere:
    """All shards in this process: what the local engine uses, and the reference for shards elsewhere."""

    def __init__(self, count: int) -> None:
        self._shards = [ColumnShard() for _ in range(count)]

    def gather(self, task: AggregationTask) -> None:
        self._tasks = task.cut(len(self._shards))
        for shard, mine in zip(self._shards, self._tasks, strict=True):
            shard.gather(mine)

    def put(self, position: int, portion: torch.Tensor) -> None:
        """Take a finished client's portion, [d], to pieces."""
        begin = 0
        for shard, task in zip(self._shards, self._tasks, strict=True):
            end = begin + len(task.portion)
            shard.room(position).copy_(portion[begin:end])
            shard.filled(position)
            begin = end

    def proceed(self, total: torch.Tensor | None) -> list[ReductionRequest | Done]:
        return [shard.proceed(total) for shard in self._shards]

    def total(self, kernel: Kernel, vectors: Sequence[Sequence[torch.Tensor]]) -> list[list[torch.Tensor]]:
        return [shard.total(kernel, mine) for shard, mine in zip(self._shards, vectors, strict=True)]

    def map(self, kernel: Kernel, vectors: Sequence[Sequence[torch.Tensor]]) -> list[torch.Tensor]:
        return [shard.map(kernel, mine) for shard, mine in zip(self._shards, vectors, strict=True)]

    def end(self) -> None:
        """Drop what is under way."""
        for shard in self._shards:
            shard.end()
