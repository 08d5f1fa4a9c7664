"""What an aggregation rule is: a pure function from the received updates to one vector.

A rule never learns who is malicious. It may know *how many* are, from either source: ``RoundContext.assumed`` is what
the operator believes, ``RoundContext.actual`` is the oracle count of this very cohort (as the NDSS'21 code assumes).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch

from raysplit import rng
from raysplit.aggregation.columns import Whole, gathered
from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.plain_tensors import check_answer, check_updates, check_vector, described, shares
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.parts.contract import answer, contract


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
    lost: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """int64 ids of clients that trained in this round and whose updates never arrived"""
    counts: np.ndarray | None = None
    """int64 [n], with how many samples each client weighs; None: alike"""
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


MaliciousCount = int | Literal["actual", "assumed"]
"""Against how many malicious clients f a rule is set up: ``"actual"``, the true number in this very cohort (an oracle);
``"assumed"``, the number that the operator expects; or a fixed number."""


@contract("a part of an aggregation")
class AggregationPart:
    """What an aggregation rule and a step before one (``PreAggregation``) both answer."""

    @answer
    def columnwise(self) -> bool:
        """Whether each coordinate is aggregated apart from the others, so that column shards can be."""
        return False

    @answer
    def f(self) -> MaliciousCount | None:
        """Against how many malicious clients it is set up; None where it asks for no such number."""
        return None

    @answer
    def roots(self) -> tuple[int, ...]:
        """The clients whose clean update it asks for in every round (``context.reference``)."""
        return tuple(dict.fromkeys(root for part in self.parts() for root in part.roots))

    @answer
    def remembers_clients(self) -> bool:
        """Whether its memory has an update of every client that was ever sampled."""
        return any(part.remembers_clients for part in self.parts())

    def parts(self) -> tuple[AggregationPart, ...]:
        """The rules and steps that it is made of, in the order in which they act."""
        return ()

    def least_clients(self, f: int) -> int:
        """At least how many updates it needs where ``f`` malicious clients are expected.

        Where its own ``f`` is a number, that one counts.
        """
        return max((part.least_clients(f) for part in self.parts()), default=1)

    def against(self, expected: int) -> int:
        """f, where ``expected`` malicious clients are."""
        if isinstance(self.f, int):
            return self.f
        return max((part.against(expected) for part in self.parts()), default=expected)

    def needs_whole_updates(self) -> str | None:
        """A sentence on why column shards cannot serve it, or None where they can."""
        return next((why for part in self.parts() if (why := part.needs_whole_updates()) is not None), None)


@contract("an aggregation rule")
class AggregationRule(AggregationPart, ABC):
    """The contract of aggregation rules: a frozen dataclass (``part``) derives from it, gives ``aggregate`` and answers
    what is not as the defaults say. ``aggregate`` changes none of its arguments."""

    @answer
    def takes_partial_sums(self) -> bool:
        """Whether portions may be summed where they were trained: for the weighted mean alone."""
        return False

    @answer
    def start_round(self) -> int:
        """The first round, from 1, in which it differs from the mean."""
        return 1

    def in_force(self, round: int) -> AggregationRule:
        """The rule that aggregates in a round, counted from 1."""
        return self

    def trim_count(self, n: int, assumed: int, actual: int) -> int | None:
        """How many of ``n`` values it cuts from each side of every coordinate; None where it does no such thing."""
        return None

    @abstractmethod
    def aggregate(self, updates: torch.Tensor, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        """``updates``: [n, d], floating; ``weights``: [n], non-negative, summing to 1."""

    def over(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        """What ``aggregate`` returns for the updates with this ``geometry``; they are first gathered in this process.

        Vectors of the context and of the result are whole, [d]. ``GeometryRule`` does without gathering.
        """
        return self.aggregate(gathered(geometry.columns), weights, context)

    def received(self, updates: torch.Tensor, context: RoundContext) -> torch.Tensor:
        """What the fed server is sent of ``updates`` [n, d]: by default these; masked ones where it sees no single
        one."""
        return updates

    def needs_whole_updates(self) -> str | None:
        return f"{type(self).__name__} has no over() (docs/how-to/defense.md), so it needs whole updates in one place"

    def __call__(
        self,
        updates: torch.Tensor,
        *,
        weights: torch.Tensor | Sequence[float] | None = None,
        reference: torch.Tensor | None = None,
        memory: Mapping[str, torch.Tensor] | None = None,
        portion: torch.Tensor | None = None,
        round: int = 1,
        seed: int = 0,
    ) -> torch.Tensor:
        """The aggregate [d] of plain ``updates`` [n, d], without a simulator: ``TrimmedMean(f=20)(updates)``.

        ``weights``: [n], any unit (default: all equal). ``reference``: [d], the clean update of root clients.
        ``memory``: what the rule's last ``Aggregate`` left; clients are called 0, 1, … in the order of rows.
        ``portion``: [d], the global parameters. ``seed`` and ``round`` fix all random choices. ``aggregate`` is the
        full form, which also tells what was selected, recorded and remembered. Raises ScenarioError for what is no
        matrix of updates, and where the rule needs what is not given.
        """
        name = type(self).__name__
        check_updates(name, updates)
        check_vector(name, "reference", reference, updates.shape[1])
        check_vector(name, "portion", portion, updates.shape[1])
        if self.roots and reference is None:
            raise ScenarioError(f"{name} goes by a clean update of root clients: give reference=, a tensor [d]")
        context = plain_context(self, len(updates), round, seed)
        full_context = replace(context, memory=memory or {}, reference=reference, portion=portion)
        return apply(self, Geometry.of(updates), shares(name, weights, updates), full_context).update


@contract("an aggregation rule")
class GeometryRule(AggregationRule):
    """A rule that asks for no more than sums over columns, column-wise maps and a shared geometry: all rules of the
    tree but ``SecureAggregation``. It gives ``over`` instead of ``aggregate``.

    It runs wherever the columns lie, and rules that are shown one geometry share its Gram matrix.
    """

    def aggregate(self, updates: torch.Tensor, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        return self.over(Geometry.of(updates), weights, context)

    @abstractmethod
    def over(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        """What ``aggregate`` returns for the updates with this ``geometry``; vectors of the context and of the result
        are whole, [d]."""

    def needs_whole_updates(self) -> str | None:
        why = AggregationPart.needs_whole_updates(self)
        if why is None and self.remembers_clients:
            why = f"{type(self).__name__} remembers an update of every client, in one place"
        return why


def apply(rule: AggregationRule, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Aggregate:
    """What ``rule`` makes of the updates with this ``geometry``: whoever applies a rule that may be a user's own does so
    by this.

    Raises ``ScenarioError`` as the rule does, and where it gives no ``Aggregate`` of such updates or wrote into them: a
    vector of another length would be broadcast without a word.
    """
    rows = geometry.columns.updates if isinstance(geometry.columns, Whole) else None
    seen = None if rows is None else rows._version  # counts writes, also those through views
    given = rule.over(geometry, weights, context)
    name = f"{type(rule).__name__}.{'over' if isinstance(rule, GeometryRule) else 'aggregate'}()"
    if rows is not None and rows._version != seen:
        raise ScenarioError(f"{name} changed the updates that it was shown; work on a copy")
    check_aggregate(name, given, *geometry.shape)
    return given


def check_aggregate(name: str, given: object, n: int, d: int) -> None:
    """Raise ``ScenarioError`` unless ``given`` is the ``Aggregate`` of n updates of d numbers; ``name``: who gave
    it."""
    if not isinstance(given, Aggregate):
        hint = "; write return Aggregate(update)" if isinstance(given, torch.Tensor | np.ndarray) else ""
        raise ScenarioError(f"{name} must return an Aggregate, but it returned a {type(given).__name__}{hint}")
    check_answer(f"{name} must return Aggregate.update", given.update, (d,))
    if given.selected is not None and (
        not isinstance(given.selected, torch.Tensor)
        or given.selected.dtype != torch.bool
        or tuple(given.selected.shape) != (n,)
    ):
        raise ScenarioError(
            f"{name} must return Aggregate.selected as a bool tensor [{n}], one for each update, or None, but it is "
            f"{described(given.selected)}"
        )
    _check_entries(f"{name} must return Aggregate.record as numbers by name", given.record, _NUMBERS)
    _check_entries(f"{name} must return Aggregate.memory as tensors by name", given.memory, torch.Tensor)


_NUMBERS = (int, float, np.generic, torch.Tensor)


def _check_entries(what: str, entries: object, kind: type | tuple[type, ...]) -> None:
    if not isinstance(entries, Mapping):
        raise ScenarioError(f"{what}, but it is {described(entries)}")
    for name, value in entries.items():
        if not isinstance(name, str) or not isinstance(value, kind):
            raise ScenarioError(f"{what}, but under {name!r} it has {described(value)}")


def all_parts(part: AggregationPart) -> Iterator[AggregationPart]:
    """A rule and all rules and steps within it."""
    yield part
    for inner in part.parts():
        yield from all_parts(inner)


def plain_context(part: AggregationPart, n: int, round: int, seed: int) -> RoundContext:
    """The context of ``n`` updates outside a simulation, where nobody knows how many are malicious.

    Raises ScenarioError where ``part``, or a part of it, has an ``f`` that is no number.
    """
    for inner in all_parts(part):
        if isinstance(inner.f, str):
            name = type(inner).__name__
            raise ScenarioError(
                f"{name}(f={inner.f!r}) cannot know how many of {n} plain updates are malicious: give f a number, as "
                f"in {name}(f={max(0, (n - 1) // 5)})"
            )
    return RoundContext(round, np.arange(n), 0, 0, rule_stream(seed, round, Channel.UPDATES))


def check_clients(rule: AggregationRule, n: int, f: int, group: str = "cohort") -> None:
    """Raise ScenarioError where ``n`` updates are too few for a rule when ``f`` malicious clients are expected.

    ``group``: what brings the ``n`` updates together, for the message.
    """
    least = rule.least_clients(f)
    if n < least:
        inner = ", ".join(type(part).__name__ for part in rule.parts())
        raise ScenarioError(
            f"{type(rule).__name__}{f'({inner})' if inner else ''} needs at least {least} updates against "
            f"{rule.against(f)} malicious clients, but a {group} of {n} brings only {n}; choose a larger {group} or "
            "another rule"
        )


def rule_stream(seed: int, round: int, channel: Channel) -> np.random.Generator:
    """The random stream of a round for the rule on ``channel``, client updates or server replicas: neither moves the
    other."""
    return rng.stream(seed, "server_defense" if channel is Channel.SERVER_UPDATES else "defense", round)
