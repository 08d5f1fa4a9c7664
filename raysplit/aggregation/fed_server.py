"""The fed server's turn: gathered portions → updates → poisoning → aggregation → the next global portion.

The main server does the same with its replicas where each client has one (SplitFedV1, V3): the channel is then
``server_updates``. Where the rule is the mean and nobody touched an update, portions were already summed where they
were trained and W ← Σ (n_k/n) W_k is taken literally, so that a single client's average is that client, bit for bit.
Otherwise rows become updates Δ_k = W_k − W, malicious rows are replaced, and W ← W + AGR(Δ).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from raysplit import rng
from raysplit.aggregation.across import ALL, Across
from raysplit.aggregation.columns import combined
from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.order_statistics import weighted_sum
from raysplit.aggregation.rule import (
    Aggregate,
    AggregationRule,
    RoundContext,
    aggregate_over,
    rule_stream,
)
from raysplit.aggregation.rules.mean import Mean
from raysplit.aggregation.rules.start_at_round import rule_in_force
from raysplit.aggregation.sharding.task import AggregationTask
from raysplit.aggregation.update_attack import UpdateAttack, UpdateView
from raysplit.attacks.scheduled import attacks_in_force
from raysplit.attacks.updates.on_server_replicas import OnServerReplicas
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.memory.memory import State
from raysplit.population.selection.cohort import SampledCohort
from raysplit.protocols.outcome import Outcome
from raysplit.protocols.plan import RoundPlan
from raysplit.scenario.scenario import Scenario
from raysplit.storage.updates import RecordedRound
from raysplit.training.optimizers import copied_state
from raysplit.training.settings import FedOpt


@dataclass
class AggregationResult:
    """What became of a round's portions on one channel: the aggregated portion [d] before any FedOpt, rows for the
    tables, and what the rule wants to remember."""

    portion: torch.Tensor
    aggregation: dict[str, Any]
    memory: State = field(default_factory=dict)
    attack: dict[str, Any] | None = None
    update_norms: np.ndarray | None = None
    seconds: float = field(default=0.0)


def update_attack_in(
    scenario: Scenario, round: int, sampled: SampledCohort, channel: Channel = Channel.UPDATES
) -> UpdateAttack | None:
    """The attack on ``channel``'s updates in force in a round, if there are malicious clients to carry it out."""
    if not sampled.malicious.any():
        return None
    for attack in attacks_in_force(scenario.attack, round):
        if isinstance(attack, UpdateAttack) and channel in attack.threat_model.changes:
            return attack.attack if isinstance(attack, OnServerReplicas) else attack
    return None


def rule_on(scenario: Scenario, channel: Channel, round: int) -> AggregationRule:
    """The rule in force in a round for client portions, or for server replicas."""
    return rule_in_force(scenario.server_defense if channel is Channel.SERVER_UPDATES else scenario.defense, round)


def gathers_rows(scenario: Scenario, round: int, sampled: SampledCohort, channel: Channel = Channel.UPDATES) -> bool:
    """Whether a round's portions are needed one by one: for a rule other than the mean, for an attack, or for the
    record."""
    if not isinstance(rule_on(scenario, channel, round), Mean) or records_updates(scenario, round):
        return True
    return update_attack_in(scenario, round, sampled, channel) is not None


def records_updates(scenario: Scenario, round: int) -> bool:
    """Whether a round's matrix of updates is kept."""
    every = scenario.record_updates_every
    return every is not None and round % every == 0


def sum_groups(sums: dict[int, torch.Tensor]) -> torch.Tensor:
    """Partial sums added in group order: the same bits whichever host made which."""
    groups = sorted(sums)
    total = sums[groups[0]].clone()
    for group in groups[1:]:
        total.add_(sums[group])
    return total


def aggregate_round(
    scenario: Scenario,
    plan: RoundPlan,
    sampled: SampledCohort,
    outcome: Outcome,
    portion: torch.Tensor,
    parameters: int,
    memory: State,
    root: torch.Tensor | None = None,
    record: Callable[[RecordedRound], object] = lambda recorded: None,
    channel: Channel = Channel.UPDATES,
    last_move: torch.Tensor | None = None,
) -> AggregationResult:
    """Aggregate a round's client portions, or with ``channel`` SERVER_UPDATES its server replicas. ``sampled``: the
    clients that report.

    ``record``: called in rounds that are to be recorded.
    ``portion``: the round's start, [d]; ``parameters``: how many of d are no buffers.
    ``memory``: the rule's, from the round before. ``root``: the portion that the rule's root clients trained, [d].
    ``last_move``: [d], by how much the round before moved the portion, for an attack that asks for it.
    """
    began = time.perf_counter()
    rule, at_server = rule_on(scenario, channel, plan.round), channel is Channel.SERVER_UPDATES
    sums, rows = (outcome.server_sums, outcome.server_rows) if at_server else (outcome.client_sums, outcome.client_rows)
    assumed = scenario.cohort.assumed_among(len(sampled.clients))
    row: dict[str, Any] = {
        "round": plan.round,
        "portion": "server" if at_server else "client",
        "rule": type(rule).__name__,
        "n": plan.reporting,
        "d": len(portion),
        "assumed": assumed,
        "actual": int(sampled.malicious.sum()),
        "broken": False,
    }
    if not (plan.server_rows if at_server else plan.rows):
        return AggregationResult(sum_groups(sums), {**row, "seconds": time.perf_counter() - began}, memory)
    if outcome.sharded is not None and not at_server:  # in column shards, which hold the updates
        return _result(row, portion, outcome.sharded.aggregated, outcome.sharded.buffers, began)
    task = aggregation_task(
        scenario, plan, sampled, portion, parameters, memory, root, channel=channel, last_move=last_move
    )
    updates = portion.new_empty(plan.reporting, len(portion))
    for position in range(plan.reporting):  # each row is given back as soon as it is taken
        torch.sub(rows.pop(position), portion, out=updates[position])
    weights, malicious, context = task.weights, task.malicious, task.context
    buffers = weighted_sum(updates[:, parameters:], weights)
    updates = updates[:, :parameters]
    recording = records_updates(scenario, plan.round)
    honest = updates[malicious] if recording and task.attack is not None else updates[:0]
    aggregated = aggregate_matrix(task.rule, task.attack, updates, weights, malicious, context, channel)
    if recording:
        record(
            RecordedRound(
                plan.round,
                plan.seed,
                scenario.hash,
                task.context.assumed,
                task.attack is not None,
                updates,
                honest,
                weights,
                sampled.clients,
                malicious,
                portion[:parameters],
                context.reference,
                channel,
            )
        )
    return _result(row, portion, aggregated, buffers, began)


def aggregation_task(
    scenario: Scenario,
    plan: RoundPlan,
    sampled: SampledCohort,
    portion: torch.Tensor,
    parameters: int,
    memory: State,
    root: torch.Tensor | None,
    positions: Sequence[int] | None = None,
    channel: Channel = Channel.UPDATES,
    last_move: torch.Tensor | None = None,
) -> AggregationTask:
    """What is known of a round before its updates come in; the arguments are those of ``aggregate_round``.
    ``positions``: of whom they come, if not of all."""
    actual = int(sampled.malicious.sum())
    context = RoundContext(
        plan.round,
        sampled.clients,
        scenario.cohort.assumed_among(len(sampled.clients)),
        actual,
        rule_stream(plan.seed, plan.round, channel),
        memory,
        None if root is None else (root - portion)[:parameters],
        portion[:parameters],
        None if last_move is None else last_move[:parameters],
    )
    return AggregationTask(
        rule_on(scenario, channel, plan.round),
        update_attack_in(scenario, plan.round, sampled, channel),
        torch.from_numpy(plan.weights[: plan.reporting]).to(portion.dtype),
        torch.from_numpy(sampled.malicious),
        context,
        tuple(range(plan.reporting) if positions is None else positions),
        portion,
        parameters,
    )


def _result(
    row: dict[str, Any], portion: torch.Tensor, aggregated: Aggregated, buffers: torch.Tensor, began: float
) -> AggregationResult:
    moved = portion + torch.cat([aggregated.aggregate.update, buffers])
    seconds = time.perf_counter() - began
    return AggregationResult(
        moved,
        {**row, **aggregated.row},
        dict(aggregated.aggregate.memory),
        aggregated.attack,
        aggregated.update_norms,
        seconds,
    )


@dataclass(frozen=True)
class Aggregated:
    """What a rule made of a matrix of updates that an attack had its hands in: its aggregate, rows for the tables, and
    the rows' norms."""

    aggregate: Aggregate
    row: dict[str, Any]
    attack: dict[str, Any] | None
    update_norms: np.ndarray


def aggregate_matrix(
    rule: AggregationRule,
    attack: UpdateAttack | None,
    updates: torch.Tensor,
    weights: torch.Tensor,
    malicious: torch.Tensor,
    context: RoundContext,
    channel: Channel = Channel.UPDATES,
    geometry_of: Callable[[torch.Tensor], Geometry] = Geometry.of,
) -> Aggregated:
    """Poison ``updates`` [n, d] in place, aggregate them, and measure the aggregate against the mean of the benign
    ones.

    ``malicious``: bool [n]. ``geometry_of`` the poisoned updates, which need not be taken anew. Raises
    ``ScenarioError`` as the attack and the rule do.
    """
    poisoned = None if attack is None else poison(attack, updates, malicious, rule, context, channel)
    return judge(rule, geometry_of(updates), weights, malicious, context, poisoned)


def judge(
    rule: AggregationRule,
    geometry: Geometry,
    weights: torch.Tensor,
    malicious: torch.Tensor,
    context: RoundContext,
    poisoned: dict[str, Any] | None,
) -> Aggregated:
    """What ``aggregate_matrix`` does after poisoning, wherever the columns of the ``geometry`` lie."""
    row: dict[str, Any] = {}
    norms = geometry.norms.numpy()
    started = time.perf_counter()
    aggregate = aggregate_over(rule, geometry, weights, context)
    row["seconds"] = time.perf_counter() - started
    record = dict(aggregate.record)
    row["trim"] = int(record["trim"]) if "trim" in record else None
    row["broken"] = bool(record.get("broken", False))
    if aggregate.selected is not None:
        row["rejected_share"] = float((~aggregate.selected).double().mean())
        row["selected_malicious"] = int((aggregate.selected & malicious).sum())
    elif row["trim"] is not None:
        row["rejected_share"] = 2 * row["trim"] / len(malicious)
    if not bool(malicious.all()):
        benign = (~malicious).double()
        row.update(_bias(aggregate.update, combined(geometry.columns, benign / benign.sum())))
    return Aggregated(aggregate, row, poisoned, norms)


def poison(
    attack: UpdateAttack,
    updates: torch.Tensor,
    malicious: torch.Tensor,
    rule: AggregationRule,
    context: RoundContext,
    channel: Channel = Channel.UPDATES,
    across: Across = ALL,
) -> dict[str, Any]:
    """Replace the malicious rows in place with what the attack sends, having shown it just what its threat model
    allows.

    ``across``: which columns ``updates`` are. Returns the attack's row for the tables.
    """
    began = time.perf_counter()
    knowledge = attack.threat_model.knowledge
    trim_count = getattr(rule, "trim_count", None)
    own = np.flatnonzero(malicious.numpy())
    others = np.flatnonzero(~malicious.numpy())
    seed = int(context.rng.integers(1 << 62))
    order = np.concatenate([others, own])
    _reorder(updates, order)
    view = UpdateView(
        benign=updates[: len(others) if knowledge == "full" else 0],
        own=updates[len(others) :],
        n=len(updates),
        rule=rule,
        trim=trim_count(len(updates), context.assumed, context.actual) if trim_count else None,
        round=context.round,
        rng=rng.stream(seed, "attack", context.round),
        context=_adversary_context(context, own, knowledge),
        channel=channel,
        across=across,
    )
    seen = updates._version  # counts writes, also those through views
    sent = attack.poison(view)
    if updates._version != seen:
        raise ScenarioError(
            f"{type(attack).__name__}.poison() changed the updates that it was shown; it may only return rows: work "
            "on a copy"
        )
    rows = sent.rows.to(updates.dtype)
    if rows.untyped_storage().data_ptr() == updates.untyped_storage().data_ptr():
        rows = rows.clone()  # a copy of rows that are about to be overwritten
    view.own.copy_(rows)
    _reorder(updates, np.argsort(order))
    known = {name: float(sent.record[name]) for name in ("gamma", "objective", "certificate") if name in sent.record}
    return {
        "round": context.round,
        "attack": type(attack).__name__,
        "channel": channel.value,
        "m": view.m,
        "knowledge": knowledge,
        **known,
        "seconds": time.perf_counter() - began,
    }


def _reorder(matrix: torch.Tensor, order: np.ndarray) -> None:
    """Row i becomes what row ``order[i]`` was, in place: a copy of the benign rows would nearly double the memory of a
    round."""
    placed = np.zeros(len(order), dtype=bool)
    for start in range(len(order)):
        if placed[start] or order[start] == start:
            continue
        kept, here = matrix[start].clone(), start
        while (source := int(order[here])) != start:
            matrix[here] = matrix[source]
            placed[here], here = True, source
        matrix[here] = kept
        placed[here] = True


def _adversary_context(context: RoundContext, own: np.ndarray, knowledge: str) -> RoundContext:
    """What an adversary knows of the rule's context: all but its random choices; with partial knowledge also not its
    state, nor others.

    ``own``: positions of the malicious clients. They come first, then, with full knowledge, the benign ones.
    """
    others = np.setdiff1d(np.arange(len(context.clients)), own)
    stand_in = rng.stream(0, "rehearsal", context.round)
    if knowledge == "full":
        return replace(context, clients=context.clients[np.concatenate([own, others])], rng=stand_in)
    return replace(context, clients=context.clients[own], rng=stand_in, memory={}, reference=None)


def _bias(update: torch.Tensor, benign: torch.Tensor) -> dict[str, float | None]:
    """How far the aggregate was moved from the mean of the benign updates."""
    bias, norm = float(torch.linalg.vector_norm(update - benign)), float(torch.linalg.vector_norm(benign))
    length = float(torch.linalg.vector_norm(update)) * norm
    return {
        "bias": bias,
        "relative_bias": bias / norm if norm > 0 else None,
        "cosine": float(update @ benign) / length if length > 0 else None,
    }


def step_on_aggregate(
    fed: FedOpt | None,
    portion: torch.Tensor,
    aggregated: torch.Tensor,
    parameters: int,
    state: State | None,
    factor: float,
) -> tuple[torch.Tensor, State]:
    """The next global portion: the aggregate itself, or one optimiser step with gradient W − aggregate (Reddi et al.
    2021).

    ``parameters``: how many of the portion's floats are no buffers; buffers have no gradient and are taken as
    aggregated.
    """
    if fed is None:
        return aggregated, {}
    weights = portion[:parameters].clone()
    memory = copied_state(state, [weights])
    with torch.no_grad():
        fed.optimizer.step([weights], [portion[:parameters] - aggregated[:parameters]], memory, fed.lr * factor)
    return torch.cat([weights, aggregated[parameters:]]), memory
