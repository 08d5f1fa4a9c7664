"""The fed server's turn: gathered portions → updates → poisoning → aggregation → the next global portion.

Where the rule is the mean and nobody touched an update, portions were already summed where they were trained and W ← Σ (n_k/n) W_k is
taken literally, so that a single client's average is that client, bit for bit. Otherwise rows become updates
Δ_k = W_k − W, malicious rows are replaced, and W ← W + AGR(Δ).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from raysplit import rng
from raysplit.attacks.poisoning.poisoning import UpdateAttack, UpdateView
from raysplit.attacks.poisoning.scheduled import attack_in_force
from raysplit.defenses.aggregation.aggregation import Aggregate, AggregationRule, RoundContext
from raysplit.defenses.aggregation.deferred import rule_in_force
from raysplit.defenses.aggregation.order_statistics import weighted_sum
from raysplit.errors import ScenarioError
from raysplit.metrics.updates import RecordedRound
from raysplit.optimizers import State, copied_state
from raysplit.population.cohort import Drawn
from raysplit.protocols.plan import Outcome, RoundPlan
from raysplit.scenario import Scenario
from raysplit.training import FedOpt


@dataclass
class Meeting:
    """What the fed server made of a round: the aggregated portion [d] before any FedOpt, rows for the tables, and what the rule
    wants to remember."""

    portion: torch.Tensor
    aggregation: dict[str, Any]
    memory: State = field(default_factory=dict)
    attack: dict[str, Any] | None = None
    update_norms: np.ndarray | None = None
    seconds: float = field(default=0.0)


def attacks_in(scenario: Scenario, round: int, drawn: Drawn) -> UpdateAttack | None:
    """The attack on updates in force in a round, if there are malicious clients to carry it out."""
    attack = scenario.attack
    if attack is None or not drawn.malicious.any():
        return None
    return attack_in_force(attack, round)


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


def meet(
    scenario: Scenario,
    plan: RoundPlan,
    drawn: Drawn,
    outcome: Outcome,
    portion: torch.Tensor,
    parameters: int,
    memory: State,
    root: torch.Tensor | None = None,
    record: Callable[[RecordedRound], object] = lambda recorded: None,
) -> Meeting:
    """Aggregate a round's client portions. ``drawn``: the clients that report. ``record``: called in rounds that are to be recorded.

    ``portion``: the round's start, [d]; ``parameters``: how many of d are no buffers.
    ``memory``: the rule's, from the round before. ``root``: the portion that the rule's root clients trained, [d].
    """
    began = time.perf_counter()
    rule = rule_in_force(scenario.defense, plan.round)
    declared = scenario.cohort.declared_among(len(drawn.clients))
    row: dict[str, Any] = {
        "round": plan.round,
        "portion": "client",
        "rule": type(rule).__name__,
        "n": plan.reporting,
        "d": len(portion),
        "declared": declared,
        "realised": int(drawn.malicious.sum()),
        "broken": False,
    }
    if not plan.rows:
        return Meeting(sum_groups(outcome.client_sums), {**row, "seconds": time.perf_counter() - began}, memory)
    updates = portion.new_empty(plan.reporting, len(portion))
    for position in range(plan.reporting):  # each row is given back as soon as it is taken
        torch.sub(outcome.client_rows.pop(position), portion, out=updates[position])
    weights = torch.from_numpy(plan.weights[: plan.reporting]).to(updates.dtype)
    buffers = weighted_sum(updates[:, parameters:], weights)
    updates = updates[:, :parameters]
    malicious = torch.from_numpy(drawn.malicious)
    context = RoundContext(
        plan.round,
        drawn.clients,
        declared,
        int(drawn.malicious.sum()),
        rng.stream(plan.seed, "defense", plan.round),
        memory,
        None if root is None else (root - portion)[:parameters],
        portion[:parameters],
    )
    meeting = Meeting(portion, row)
    attack = attacks_in(scenario, plan.round, drawn)
    recording = records_updates(scenario, plan.round)
    honest = updates[malicious] if recording and attack is not None else updates[:0]
    faced = face(rule, attack, updates, weights, malicious, context)
    if recording:
        record(
            RecordedRound(
                plan.round,
                plan.seed,
                scenario.hash,
                declared,
                attack is not None,
                updates,
                honest,
                weights,
                drawn.clients,
                malicious,
                portion[:parameters],
                context.reference,
            )
        )
    aggregate = faced.aggregate
    row.update(faced.row)
    meeting.attack, meeting.update_norms = faced.attack, faced.update_norms
    meeting.portion = portion + torch.cat([aggregate.update, buffers])
    meeting.memory = dict(aggregate.memory)
    meeting.seconds = time.perf_counter() - began
    return meeting


@dataclass(frozen=True)
class Faced:
    """What a rule made of a matrix of updates that an attack had its hands in: its aggregate, rows for the tables, and the rows' norms."""

    aggregate: Aggregate
    row: dict[str, Any]
    attack: dict[str, Any] | None
    update_norms: np.ndarray


def face(
    rule: AggregationRule,
    attack: UpdateAttack | None,
    updates: torch.Tensor,
    weights: torch.Tensor,
    malicious: torch.Tensor,
    context: RoundContext,
) -> Faced:
    """Poison ``updates`` [n, d] in place, aggregate them, and measure the aggregate against the mean of the benign ones.

    ``malicious``: bool [n]. Raises ``ScenarioError`` as the attack and the rule do.
    """
    row: dict[str, Any] = {}
    poisoned = None if attack is None else _poison(attack, updates, malicious, rule, context)
    norms = torch.linalg.vector_norm(updates, dim=1)
    started = time.perf_counter()
    aggregate = rule.aggregate(updates, weights, context)
    row["seconds"] = time.perf_counter() - started
    record = dict(aggregate.record)
    row["trim"] = int(record["trim"]) if "trim" in record else None
    row["broken"] = bool(record.get("broken", False))
    if aggregate.selected is not None:
        row["rejected_share"] = float((~aggregate.selected).double().mean())
        row["selected_malicious"] = int((aggregate.selected & malicious).sum())
    elif row["trim"] is not None:
        row["rejected_share"] = 2 * row["trim"] / len(updates)
    if not bool(malicious.all()):
        row.update(_bias(aggregate.update, _benign_mean(updates, malicious)))
    return Faced(aggregate, row, poisoned, norms.double().numpy())


def _poison(
    attack: UpdateAttack, updates: torch.Tensor, malicious: torch.Tensor, rule: AggregationRule, context: RoundContext
) -> dict[str, Any]:
    """Replace the malicious rows in place with what the attack sends, having shown it just what its threat model allows."""
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
        trim=trim_count(len(updates), context.declared, context.realised) if trim_count else None,
        round=context.round,
        rng=rng.stream(seed, "attack", context.round),
        context=_told(context, own, knowledge),
    )
    seen = updates._version  # counts writes, also those through views
    poison = attack.poison(view)
    if updates._version != seen:
        raise ScenarioError(
            f"{type(attack).__name__}.poison() changed the updates that it was shown; it may only return rows: work on a copy"
        )
    rows = poison.rows.to(updates.dtype)
    if rows.untyped_storage().data_ptr() == updates.untyped_storage().data_ptr():
        rows = rows.clone()  # a copy of rows that are about to be overwritten
    view.own.copy_(rows)
    _reorder(updates, np.argsort(order))
    known = {
        name: float(poison.record[name]) for name in ("gamma", "objective", "certificate") if name in poison.record
    }
    return {
        "round": context.round,
        "attack": type(attack).__name__,
        "m": view.m,
        "knowledge": knowledge,
        **known,
        "seconds": time.perf_counter() - began,
    }


def _reorder(matrix: torch.Tensor, order: np.ndarray) -> None:
    """Row i becomes what row ``order[i]`` was, in place: a copy of the benign rows would nearly double the memory of a round."""
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


def _told(context: RoundContext, own: np.ndarray, knowledge: str) -> RoundContext:
    """What an adversary knows of the rule's context: all but its random choices; with partial knowledge also not its state, nor others.

    ``own``: positions of the malicious clients. They come first, then, with full knowledge, the benign ones.
    """
    others = np.setdiff1d(np.arange(len(context.clients)), own)
    stand_in = rng.stream(0, "rehearsal", context.round)
    if knowledge == "full":
        return replace(context, clients=context.clients[np.concatenate([own, others])], rng=stand_in)
    return replace(context, clients=context.clients[own], rng=stand_in, memory={}, reference=None)


def _benign_mean(updates: torch.Tensor, malicious: torch.Tensor) -> torch.Tensor:
    mask = (~malicious).to(updates.dtype)
    return (mask @ updates) / mask.sum()


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
    """The next global portion: the aggregate itself, or one optimiser step with gradient W − aggregate (Reddi et al. 2021).

    ``parameters``: how many of the portion's floats are no buffers; buffers have no gradient and are taken as aggregated.
    """
    if fed is None:
        return aggregated, {}
    weights = portion[:parameters].clone()
    memory = copied_state(state, [weights])
    with torch.no_grad():
        fed.optimizer.step([weights], [portion[:parameters] - aggregated[:parameters]], memory, fed.lr * factor)
    return torch.cat([weights, aggregated[parameters:]]), memory
