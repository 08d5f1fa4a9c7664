"""What is known of a round's updates on one channel before they come."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch

from raysplit.aggregation.across import ALL, Across
from raysplit.aggregation.rule import AggregationRule, RoundContext
from raysplit.aggregation.update_attack import UpdateAttack
from raysplit.channels.channel import Channel


@dataclass(frozen=True)
class AggregationTask:
    """All that a round's updates on one ``channel`` are poisoned and aggregated by; n rows of d parameters and b
    buffers.

    ``channel``: client portions' updates (``UPDATES``) or server replicas' (``SERVER_UPDATES``). ``attack``: the one in
    force, or None. ``weights``: [n], summing to 1. ``malicious``: bool [n], which the rule never learns. ``context``:
    what the rule knows; its random stream also gives the attack's seed, and is not moved by either (see
    ``attack_seed``). ``positions``: the cohort position of each row. ``portion``: W, [d + b], the portion with which
    the round begins; its first ``parameters`` = d floats are parameters, the others buffers. ``across``: which of all
    columns the d are, where this is the task of a column shard.
    """

    channel: Channel
    rule: AggregationRule
    attack: UpdateAttack | None
    weights: torch.Tensor
    malicious: torch.Tensor
    context: RoundContext
    positions: tuple[int, ...]
    portion: torch.Tensor
    parameters: int
    across: Across = ALL

    @property
    def round(self) -> int:
        """The round, 1-based."""
        return self.context.round

    @property
    def attack_seed(self) -> int:
        """The first number of the round's stream. Drawn from a copy: a round that is played again, and every shard,
        finds the same one."""
        return int(copy.deepcopy(self.context.rng).integers(1 << 62))

    def rule_context(self) -> RoundContext:
        """``context`` with a copy of the stream as the rule finds it: behind the attack's seed, if there is an
        attack."""
        stream = copy.deepcopy(self.context.rng)
        if self.attack is not None:
            stream.integers(1 << 62)
        return replace(self.context, rng=stream)
