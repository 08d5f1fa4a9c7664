"""What a poisoning of updates is: the malicious rows that reach the fed server instead of the honest ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch

from raysplit import rng
from raysplit.aggregation.across import ALL, Across
from raysplit.aggregation.attack import Attack
from raysplit.aggregation.plain_tensors import check_answer, check_updates, check_vector, described
from raysplit.aggregation.rule import Aggregate, AggregationRule, RoundContext, rule_stream
from raysplit.channels.channel import Channel, ThreatModel
from raysplit.errors import ScenarioError
from raysplit.parts.contract import answer, contract


@dataclass(frozen=True)
class UpdateView:
    """What the adversary sees of a round, already cut down to what its threat model allows.

    ``benign``: the benign updates it can see, [n_seen, d] (full knowledge: every benign client of the cohort; partial
    knowledge: none, so [0, d]). ``own``: the honest updates of its own clients before poisoning, [m, d]. ``n``: updates
    that the fed server (of replicas, the main server) will receive. ``rule``: the aggregation rule in place
    (Kerckhoffs). ``trim``: what that rule would cut from each side for this cohort, or None where the rule has no such
    count. ``round``: 1-based. ``context``: what that rule knows, with a random stream that is not the server's;
    ``context.clients`` are the adversary's own, then those of ``benign``. Under partial knowledge it holds neither
    memory nor reference. ``channel``: which updates these are, of client portions (``UPDATES``) or of server replicas
    (``SERVER_UPDATES``); d is that portion's. ``across``: through this sums and maxima over *all* columns are taken,
    and numbers drawn, as the updates may be a shard of them.
    """

    benign: torch.Tensor
    own: torch.Tensor
    n: int
    rule: AggregationRule
    trim: int | None
    round: int
    rng: np.random.Generator
    context: RoundContext | None = None
    channel: Channel = Channel.UPDATES
    across: Across = ALL

    @property
    def m(self) -> int:
        """Malicious clients in this cohort."""
        return int(self.own.shape[0])


@dataclass(frozen=True)
class Poison:
    """``rows``: what the malicious clients send, [m, d], in cohort order; may be one row expanded (clones).

    ``record``: scalars for the attacks table (``gamma``, ``objective``, ``certificate`` …).
    """

    rows: torch.Tensor
    record: Mapping[str, float] = field(default_factory=dict)


@contract("an attack on updates")
class UpdateAttack(Attack):
    """The contract of attacks on updates: a frozen dataclass derives from it and gives ``threat_model`` and ``poison``,
    which is pure: it changes none of its arguments and keeps nothing.

    It is called once a round for every matrix of updates that its threat model changes: client portions', server
    replicas', or both.
    """

    @answer
    def shardable(self) -> bool:
        """Whether it may be shown a shard of the columns: it works column by column, or with ``view.across``. The
        attacks within it answer for themselves."""
        return False

    @answer
    def simulates_rule(self) -> bool:
        """Whether it simulates the aggregation by the rule in place."""
        return any(part.simulates_rule for part in self.parts())

    @answer
    def goes_by_rule(self) -> bool:
        """Whether what it sends depends on the rule in place."""
        return self.simulates_rule or any(part.goes_by_rule for part in self.parts())

    def parts(self) -> tuple[UpdateAttack, ...]:
        return ()

    def on(self, channel: Channel) -> UpdateAttack | None:
        """The attack that makes the malicious rows of ``channel``, ``UPDATES`` or ``SERVER_UPDATES``; None where it
        leaves that channel as it is."""
        return self if channel in self.threat_model.changes else None

    @abstractmethod
    def poison(self, view: UpdateView) -> Poison:
        """The malicious rows of one round on one channel."""

    def __call__(
        self,
        updates: torch.Tensor,
        m: int | None = None,
        *,
        own: torch.Tensor | None = None,
        n: int | None = None,
        rule: AggregationRule | None = None,
        reference: torch.Tensor | None = None,
        last_move: torch.Tensor | None = None,
        round: int = 1,
        seed: int = 0,
    ) -> torch.Tensor:
        """The malicious rows [m, d] made of plain honest ``updates`` [k, d], without a simulator:
        ``LittleIsEnough()(benign, m=20)``.

        With full knowledge ``updates`` are the benign clients'; ``own``, [m, d], are what the adversary's m clients
        trained honestly (default: the first m rows of ``updates``, as if each held the data of a benign client). With
        partial knowledge only ``own`` is seen; there ``updates`` alone may be given, and is then the adversary's own:
        ``SignFlip()(own)``. ``n``: updates that the server receives (default: benign rows and m). ``rule``: the rule in
        place, which knows the true m; needed by attacks that are tailored to it. ``reference``: [d], the clean update
        of the root clients of such a rule; ``last_move``: [d], the last global move. ``seed`` and ``round`` fix all
        random choices. Raises ScenarioError for what is no matrix of updates, and where the attack needs what is not
        given.
        """
        name = type(self).__name__
        check_updates(name, updates)
        full = self.threat_model.knowledge == "full"
        benign, trained = _clients(name, updates, m, own, full)
        if self.goes_by_rule and rule is None:
            raise ScenarioError(f"{name} goes by the rule in place: give rule=, such as rule=Median()")
        if n is not None and n < len(benign) + len(trained):
            raise ScenarioError(
                f"{name}: n counts all updates that the server receives, so it is at least "
                f"{len(benign) + len(trained)}, but it is {n}"
            )
        for argument, vector in (("reference", reference), ("last_move", last_move)):
            check_vector(name, argument, vector, updates.shape[1])
        view = plain_view(benign, trained, n, rule, full, round, seed)
        assert view.context is not None
        context = replace(view.context, reference=reference if full else None, last_move=last_move)
        rows = checked_rows(self, self.poison(replace(view, context=context)), *trained.shape)
        return rows.to(updates.dtype).clone()


def checked_rows(attack: UpdateAttack, sent: object, m: int, d: int) -> torch.Tensor:
    """The malicious rows [m, d] of what an ``attack`` sent. Raises ``ScenarioError`` where that is no ``Poison`` with
    just these: a single row would be broadcast to all clients without a word."""
    name = f"{type(attack).__name__}.poison()"
    if not isinstance(sent, Poison):
        raise ScenarioError(
            f"{name} must return a Poison, but it returned {described(sent)}; write return Poison(rows)"
        )
    rows = sent.rows
    if isinstance(rows, torch.Tensor) and rows.is_floating_point() and tuple(rows.shape) == (d,) and m > 1:
        raise ScenarioError(
            f"{name} must return Poison.rows [{m}, {d}], a row for each malicious client, but there is one row [{d}]; "
            "for clones send row.expand(view.m, -1)"
        )
    check_answer(f"{name} must return Poison.rows", rows, (m, d))
    if not isinstance(sent.record, Mapping):
        raise ScenarioError(f"{name} must return Poison.record as numbers by name, but it is {described(sent.record)}")
    return rows


class _Unknown(AggregationRule):
    """Stands for the rule in place where none is given, which no attack that is called so goes by."""

    def aggregate(self, updates: torch.Tensor, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        raise ScenarioError("no rule is given: give rule=, such as rule=Median()")


def plain_view(
    benign: torch.Tensor,
    own: torch.Tensor,
    n: int | None,
    rule: AggregationRule | None,
    full: bool,
    round: int,
    seed: int,
) -> UpdateView:
    """The view of an adversary outside a simulation; ``full``: whether it sees the ``benign`` rows."""
    m = len(own)
    received = len(benign) + m if n is None else n
    context = RoundContext(
        round, np.arange(m + len(benign) if full else m), m, m, rule_stream(seed, round, Channel.UPDATES)
    )
    return UpdateView(
        benign=benign if full else benign[:0],
        own=own,
        n=received,
        rule=_Unknown() if rule is None else rule.in_force(round),
        trim=None if rule is None else rule.in_force(round).trim_count(received, m, m),
        round=round,
        rng=rng.stream(seed, "attack", round),
        context=context,
    )


def _clients(
    name: str, updates: torch.Tensor, m: int | None, own: torch.Tensor | None, full: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The benign rows [n - m, d] and the adversary's own [m, d], as ``UpdateAttack.__call__`` says."""
    if own is not None:
        check_updates(name, own, "its own updates")
        if own.shape[1] != updates.shape[1] or m not in (None, len(own)):
            raise ScenarioError(
                f"{name}: own must be the honest updates of the adversary's {'' if m is None else f'{m} '}clients, "
                f"with {updates.shape[1]} columns, but its shape is {list(own.shape)}"
            )
        return updates, own.to(updates.dtype)
    if m is None:
        if full:
            raise ScenarioError(f"{name} needs to know how many clients are malicious: give m=, or own=")
        return updates[:0], updates
    if not 1 <= m <= len(updates):
        raise ScenarioError(
            f"{name}: m must be at least 1, and at most {len(updates)} where own= is not given, but it is {m}"
        )
    return updates, updates[:m]


def updates_threat(knowledge: Literal["full", "partial"]) -> ThreatModel:
    """An adversary that sees and changes the updates, and nothing else."""
    return ThreatModel(frozenset({Channel.UPDATES}), frozenset({Channel.UPDATES}), knowledge)


def visible_honest(view: UpdateView, knowledge: Literal["full", "partial"], attack: str) -> torch.Tensor:
    """The honest updates from which an attack takes its statistics, [≥ 1, d]: the benign ones, or with partial
    knowledge its own.

    Raises ScenarioError where a fully informed ``attack`` finds no benign client in the cohort.
    """
    if knowledge == "partial":
        return view.own
    if view.benign.shape[0] == 0:
        raise ScenarioError(
            f"{attack}(knowledge='full') found no benign client in the cohort of round {view.round}: "
            "lower the malicious share or choose knowledge='partial'"
        )
    return view.benign


def check_start_round(attack: str, start_round: int) -> None:
    """Raise ScenarioError unless ``start_round`` counts from 1."""
    if start_round < 1:
        raise ScenarioError(f"{attack}.start_round counts rounds from 1, but it is {start_round}")
