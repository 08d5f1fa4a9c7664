"""What each column shard must know of an aggregation task, and which floats of a portion it gets."""

from __future__ import annotations

from dataclasses import replace

import torch

from raysplit.aggregation.across import Across, shard_bounds
from raysplit.aggregation.rule import RoundContext
from raysplit.aggregation.task import AggregationTask


def shard_tasks(task: AggregationTask, shards: int) -> list[AggregationTask]:
    """The ``task`` cut to the columns of each of ``shards`` shards, in their order; the last one has the buffers too.
    The tensors are copies."""
    tasks = []
    for first, last in shard_bounds(task.parameters, shards):
        end = last if last < task.parameters else len(task.portion)
        tasks.append(
            replace(
                task,
                context=_context_of(task.context, first, last),
                portion=task.portion[first:end].clone(),
                parameters=last - first,
                across=Across(first, task.parameters),
            )
        )
    return tasks


def _context_of(context: RoundContext, first: int, last: int) -> RoundContext:
    """The context with columns ``first`` to ``last`` of its vectors."""

    def columns(vector: torch.Tensor | None) -> torch.Tensor | None:
        return None if vector is None else vector[first:last].clone()

    return replace(
        context,
        memory={name: kept[..., first:last].clone() for name, kept in context.memory.items()},
        reference=columns(context.reference),
        portion=columns(context.portion),
        last_move=columns(context.last_move),
    )


def row_bounds(portion: int, parameters: int, shards: int) -> list[tuple[int, int]]:
    """Which floats of a portion of ``portion`` floats go to each shard: its columns, and to the last one the buffers
    too."""
    bounds = shard_bounds(parameters, shards)
    return [*bounds[:-1], (bounds[-1][0], portion)]
