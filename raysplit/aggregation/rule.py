"""What an aggregation rule is: a pure function from the received updates to one vector.

A rule never learns who is malicious. It may be told *how many* are, and then by whom: ``Knowledge.assumed`` is what
the operator believes, ``Knowledge.actual`` is the oracle count of this very cohort (as the NDSS'21 code assumes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from raysplit import rng
from raysplit.aggregation.columns import gathered
from raysplit.aggregation.geometry import Geometry
from raysplit.channels.channel import Channel


@dataclass(frozen=True)
class RoundContext:
    """What the fed server knows beside the updates.

    ``clients``: int64 [n] ids, rows in cohort order. ``assumed``: malicious clients that the operator expects in a
    cohort of this size. ``actual``: the true number in this cohort (an oracle; only rules that ask for it may use it).

    ``memory``: what the rule's last ``Aggregate`` left, by name; empty in the first round. ``reference``: [d], the
    clean update of the operator's root clients, where the rule names such ``roots``. ``portion``: [d], the global
    parameters that the updates are added to.
    """

    round: int
    clients: np.ndarray
    assumed: int
    actual: int
    rng: np.random.Generator
    memory: Mapping[str, torch.Tensor] = field(default_factory=dict)
    reference: torch.Tensor | None = None
    portion: torch.Tensor | None = None
    last_move: torch.Tensor | None = None
    """[d], by how much the round before moved the global parameters, where an attack asks for it (``Neurotoxin``); None
    in round 1"""


@dataclass(frozen=True)
class Aggregate:
    """``update``: [d]. ``record``: scalars for the aggregation table (``trim``, ``broken`` …).

    ``selected``: bool [n], rows that took part, where the rule selects whole rows; else None. ``memory``: all that the
    rule wants to find in the next round's context, under names of its own. It is part of a checkpoint.
    """

    update: torch.Tensor
    record: Mapping[str, float] = field(default_factory=dict)
    selected: torch.Tensor | None = None
    memory: Mapping[str, torch.Tensor] = field(default_factory=dict)


@runtime_checkable
class AggregationRule(Protocol):
    """A frozen dataclass; ``aggregate`` changes none of its arguments."""

    @property
    def columnwise(self) -> bool:
        """Whether each coordinate is aggregated alone, so that column shards can be."""
        ...

    def aggregate(self, updates: torch.Tensor, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        """``updates``: [n, d], floating; ``weights``: [n], non-negative, summing to 1."""
        ...


def rule_stream(seed: int, round: int, channel: Channel) -> np.random.Generator:
    """The random stream of a round for the rule on ``channel``, client updates or server replicas: neither moves the
    other."""
    return rng.stream(seed, "server_defense" if channel is Channel.SERVER_UPDATES else "defense", round)


@runtime_checkable
class GeometryRule(Protocol):
    """A rule that asks for no more than sums over columns, column-wise maps and a shared geometry: all rules of the
    tree.

    It runs wherever the columns lie, and rules that are shown one geometry share its Gram matrix.
    """

    def over(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        """What ``aggregate`` returns of the updates whose ``geometry`` it is; vectors of the context and the result are
        whole, [d]."""
        ...


def aggregate_over(
    rule: AggregationRule, geometry: Geometry, weights: torch.Tensor, context: RoundContext
) -> Aggregate:
    """``rule.over``, or, of a rule that has none, ``rule.aggregate`` of the matrix, which is then gathered in this
    process."""
    if isinstance(rule, GeometryRule):
        return rule.over(geometry, weights, context)
    return rule.aggregate(gathered(geometry.columns), weights, context)


def roots_of(rule: AggregationRule) -> tuple[int, ...]:
    """The clients whose clean update a rule asks for in every round (``context.reference``); none for most rules.

    A rule that wraps another one has a property ``roots`` that says what the inner one asks for.
    """
    roots: tuple[int, ...] = getattr(rule, "roots", ())
    return roots
