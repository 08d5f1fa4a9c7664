"""What the fed server knows of a round before its updates come in; cut to columns it is what a shard must know."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch

from raysplit.aggregation.across import ALL, Across, shard_bounds
from raysplit.aggregation.rule import AggregationRule, RoundContext
from raysplit.aggregation.update_attack import UpdateAttack


@dataclass(frozen=True)
class AggregationTask:
    """``attack``: the one in force, if any. ``weights``: [n]; ``malicious``: bool [n]. ``positions``: whose portions
    will arrive, a row each.

    ``portion``: [d], the round's start, of which the first ``parameters`` are no buffers. ``across``: which of all
    parameters these are.
    """

    rule: AggregationRule
    attack: UpdateAttack | None
    weights: torch.Tensor
    malicious: torch.Tensor
    context: RoundContext
    positions: tuple[int, ...]
    portion: torch.Tensor
    parameters: int
    across: Across = ALL

    def cut(self, shards: int) -> list[AggregationTask]:
        """Each shard's sitting, in the order of their columns; the last one has the buffers. The tensors are copies."""
        return [self._of(first, last) for first, last in shard_bounds(self.parameters, shards)]

    def _of(self, first: int, last: int) -> AggregationTask:
        told, end = self.context, last if last < self.parameters else len(self.portion)
        context = replace(
            told,
            rng=copy.deepcopy(told.rng),  # all shards draw the same
            memory={name: kept[..., first:last].clone() for name, kept in told.memory.items()},
            reference=None if told.reference is None else told.reference[first:last].clone(),
            portion=None if told.portion is None else told.portion[first:last].clone(),
            last_move=None if told.last_move is None else told.last_move[first:last].clone(),
        )
        here = Across(first, self.parameters)
        return replace(
            self, context=context, portion=self.portion[first:end].clone(), parameters=last - first, across=here
        )


def row_bounds(portion: int, parameters: int, shards: int) -> list[tuple[int, int]]:
    """Which floats of a portion of ``portion`` floats go to each shard: its columns, and to the last one the buffers
    too."""
    bounds = shard_bounds(parameters, shards)
    return [*bounds[:-1], (bounds[-1][0], portion)]
