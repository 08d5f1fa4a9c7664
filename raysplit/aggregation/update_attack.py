"""What a poisoning of updates is: the malicious rows that reach the fed server instead of the honest ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
import torch

from raysplit.aggregation.across import ALL, Across
from raysplit.channels.channel import Channel, ThreatModel
from raysplit.errors import ScenarioError

if TYPE_CHECKING:
    from raysplit.aggregation.rule import AggregationRule, RoundContext


@dataclass(frozen=True)
class UpdateView:
    """What the adversary sees of a round, already cut down to what its threat model allows.

    ``benign``: the benign updates it can see, [n_seen, d] (full knowledge: every benign client of the cohort; partial
    knowledge: none, so [0, d]). ``own``: the honest updates of its own clients before poisoning, [m, d]. ``n``: updates
    that the fed server (of replicas, the main server) will receive. ``rule``: the aggregation rule in place
    (Kerckhoffs). ``trim``: what that rule would cut from each side for this cohort, or None where the rule has no such
    count. ``round``: 1-based. ``context``: what that rule is told, with a random stream that is not the server's;
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


@runtime_checkable
class UpdateAttack(Protocol):
    """A frozen dataclass; ``poison`` is pure: it changes none of its arguments and keeps nothing.

    It is asked once a round for every matrix of updates that its threat model changes: client portions', server
    replicas', or both.
    """

    @property
    def threat_model(self) -> ThreatModel: ...

    @property
    def start_round(self) -> int:
        """First round (1-based) in which malicious clients lie."""
        ...

    def poison(self, view: UpdateView) -> Poison: ...


def attack_shards(attack: UpdateAttack) -> bool:
    """Whether an attack says, by a member ``shardable``, that it may be shown a shard of the columns: it works column
    by column, or with ``view.across``."""
    return bool(getattr(attack, "shardable", False))


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
