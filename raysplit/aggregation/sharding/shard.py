"""One column shard of the fed server: it receives its columns of every portion, poisons them, and applies kernels to
them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from raysplit.aggregation.across import AllReduce, ReductionRequest
from raysplit.aggregation.columns import Kernel, stripe_parts
from raysplit.aggregation.poisoning import Poisoned, poison
from raysplit.aggregation.sharding.reduction import CollectiveReduction, Done
from raysplit.aggregation.sharding.shard_tasks import shard_tasks
from raysplit.aggregation.task import AggregationTask
from raysplit.errors import ScenarioError


class ColumnShard:
    """Holds these columns of one round's updates at a time, [n, width]; the memory is used again in the next round."""

    def __init__(self) -> None:
        self._matrix = torch.empty(0, 0)
        self._row_of: dict[int, int] = {}
        self._poisoning: CollectiveReduction | None = None

    def prepare(self, task: AggregationTask) -> None:
        """Make ready for the rows of a round, of which ``task`` has this shard's columns. A poisoning that is under way
        is cancelled."""
        self.cancel()
        self._task = task
        shape = (len(task.positions), len(task.portion))
        if self._matrix.shape != shape or self._matrix.dtype != task.portion.dtype:
            self._matrix = torch.empty(0, 0)  # give the old memory back first
            self._matrix = torch.empty(shape, dtype=task.portion.dtype)
        self._row_of = {position: row for row, position in enumerate(task.positions)}
        self._missing = set(task.positions)

    @property
    def complete(self) -> bool:
        """Whether all rows have been received."""
        return not self._missing

    def wants(self, position: int) -> bool:
        """Whether this client's portion is still to be written."""
        return position in self._missing

    def row(self, position: int) -> torch.Tensor:
        """Where a client's portion is to be written, [width]; call ``received`` once it is."""
        return self._matrix[self._row_of[position]]

    def received(self, position: int) -> None:
        """A client's portion has been written into its row, which from here on is an update."""
        self.row(position).sub_(self._task.portion)
        self._missing.discard(position)

    def resume_poisoning(self, total: torch.Tensor | None) -> ReductionRequest | Done:
        """Poison the updates up to the next all-reduce or to the end (``CollectiveReduction.resume``); the result is
        ``Poisoned``."""
        if self._poisoning is None:
            self._poisoning = CollectiveReduction(self._poison)
        return self._poisoning.resume(total)

    def cancel(self) -> None:
        """Cancel a poisoning that is under way."""
        if self._poisoning is not None:
            self._poisoning.cancel()
            self._poisoning = None

    def total(self, kernel: Kernel, vectors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The kernel's result for each stripe of the updates. ``vectors``: these columns of each of them."""
        stripes = self._task.across.stripes(self._task.parameters)
        return list(stripe_parts(self._updates, kernel, vectors, stripes))

    def map(self, kernel: Kernel, vectors: Sequence[torch.Tensor]) -> torch.Tensor:
        """A column-wise kernel's result for these columns. Raises ``ScenarioError`` where it is as large as the updates
        themselves."""
        mapped = kernel(self._updates, *vectors)
        if mapped.dim() > 1 and len(mapped) >= len(self._updates) > 1:
            raise ScenarioError(
                f"{type(self._task.rule).__name__} asks for whole updates, which column shards do not bring together; "
                "leave --shards out"
            )
        return mapped

    @property
    def _updates(self) -> torch.Tensor:
        return self._matrix[:, : self._task.parameters]

    def _poison(self, all_reduce: AllReduce) -> Poisoned:
        across = replace(self._task.across, all_reduce=all_reduce)
        return poison(replace(self._task, across=across), self._matrix)


class LocalShards:
    """All shards in this process: what the local engine uses, and the reference for shards elsewhere."""

    def __init__(self, count: int) -> None:
        self._shards = [ColumnShard() for _ in range(count)]

    @property
    def count(self) -> int:
        return len(self._shards)

    def prepare(self, task: AggregationTask) -> None:
        """Make ready for the rows of a round."""
        self._tasks = shard_tasks(task, len(self._shards))
        for shard, shard_task in zip(self._shards, self._tasks, strict=True):
            shard.prepare(shard_task)

    def put(self, position: int, portion: torch.Tensor) -> None:
        """Give every shard its columns of a finished client's portion, [d + b]."""
        begin = 0
        for shard, task in zip(self._shards, self._tasks, strict=True):
            end = begin + len(task.portion)
            shard.row(position).copy_(portion[begin:end])
            shard.received(position)
            begin = end

    def resume_poisoning(self, total: torch.Tensor | None) -> list[ReductionRequest | Done]:
        return [shard.resume_poisoning(total) for shard in self._shards]

    def total(self, kernel: Kernel, vectors: Sequence[Sequence[torch.Tensor]]) -> list[list[torch.Tensor]]:
        return [shard.total(kernel, columns) for shard, columns in zip(self._shards, vectors, strict=True)]

    def map(self, kernel: Kernel, vectors: Sequence[Sequence[torch.Tensor]]) -> list[torch.Tensor]:
        return [shard.map(kernel, columns) for shard, columns in zip(self._shards, vectors, strict=True)]

    def cancel(self) -> None:
        """Cancel what is under way."""
        for shard in self._shards:
            shard.cancel()
