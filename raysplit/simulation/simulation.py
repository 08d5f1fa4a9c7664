"""The round: draw the cohort → train → gather → attack → aggregate → evaluate → record → checkpoint.

Reads like the papers' algorithm. Who is malicious is known here and in the metrics, nowhere else. Where it runs is the
engine's business and cannot change a bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from raysplit import rng
from raysplit.aggregation.fed_server import AggregationResult, sum_groups
from raysplit.aggregation.rule import roots_of
from raysplit.attacks.messages.tampering import attack_rows
from raysplit.attacks.updates.neurotoxin import needs_last_move
from raysplit.channels.channel import Channel
from raysplit.costs.clock import Clock
from raysplit.engine.engine import Engine
from raysplit.errors import PopulationError, ScenarioError
from raysplit.memory.global_state import GlobalState
from raysplit.memory.memory import (
    LAST_MOVE,
    PORTION,
    SERVER_OPTIMIZER,
    Memory,
    client_path,
)
from raysplit.population.population import Population, PopulationInfo
from raysplit.population.selection.cohort import Participation, ParticipationSampler, SampledCohort
from raysplit.protocols.outcome import ClientScores, Outcome
from raysplit.protocols.plan import RoundPlan
from raysplit.scenario.layout import Layout
from raysplit.scenario.scenario import Scenario
from raysplit.simulation.aggregation import (
    Record,
    Side,
    aggregate_side,
    aggregation_task,
    next_portion,
    rule_on,
)
from raysplit.simulation.personal import keep_portions
from raysplit.simulation.planning import make_plan, malicious_in
from raysplit.simulation.recorder import Evaluated, record_evaluation, record_round
from raysplit.simulation.synchrony import (
    after,
    participation_in,
    scheduled_plan,
)
from raysplit.storage.checkpoints import write_checkpoint
from raysplit.storage.tables import Tables
from raysplit.storage.updates import write_updates
from raysplit.threads import one_thread


@dataclass(frozen=True)
class RoundReport:
    """What a watcher hears after every round; ``evaluated`` is None in rounds without an evaluation, loss and
    accuracy in rounds that were passed over."""

    round: int
    rounds: int
    seconds: float
    clients: int
    train_loss: float | None
    train_accuracy: float | None
    attacked: bool
    evaluated: Evaluated | None
    diverged: bool
    virtual_s: float | None = None


@dataclass(frozen=True)
class Finish:
    """How a simulation ended: its last state and whether loss or weights stopped being finite."""

    state: GlobalState
    diverged: bool


class Progress:
    """The newest complete state, so that an interrupt between two rounds loses nothing."""

    def __init__(self, state: GlobalState) -> None:
        self.state = state


@one_thread()
def simulate(
    scenario: Scenario,
    population: Population,
    engine: Engine,
    layout: Layout,
    progress: Progress,
    tables: Tables,
    checkpoints: Path,
    watch: Callable[[RoundReport], None] = lambda report: None,
    keep: frozenset[int] = frozenset(),
) -> Finish:
    """Run a scenario from ``progress.state`` to its last round; ``progress`` follows it round by round.

    Checkpoints are written every ``scenario.checkpoint_every`` rounds, after the last, and after those in ``keep``,
    which stay. Recorded updates go into the folder ``updates`` beside ``checkpoints``.
    """
    check_population(scenario, population.info)
    sampler = ParticipationSampler(scenario.cohort, scenario.seed, population)
    evaluated_clients = evaluation_clients(scenario, population.info.clients)
    clock = Clock.of(scenario)
    rounds = scenario.training.rounds
    diverged = False
    remembers = needs_last_move(scenario.attack) and scenario.protocol.client_sync == "averaging"
    record = partial(write_updates, checkpoints.parent / "updates")
    for round in range(progress.state.round + 1, rounds + 1):
        began = time.perf_counter()
        before = progress.state
        participation = participation_in(scenario, sampler, round, before.memory)
        plan = make_plan(scenario, population, round, participation, sampler.ranks)
        late = None if clock is None or not len(plan.clients) else clock.late(plan)
        if late is not None:
            participation = late.without(participation)
            plan = make_plan(scenario, population, round, participation, sampler.ranks)
        plan = scheduled_plan(scenario, plan, before.memory)
        if plan.local_rounds is not None:  # whose batches were drawn in an earlier round
            drew = {int(client): plan.batch_round(p) for p, client in enumerate(plan.clients)}
            plan = replace(plan, malicious=malicious_in(scenario, round, participation, sampler.ranks, drew))
        sampled = participation.reporting
        start = before.for_round(plan.clients)
        roots = _root_portions(scenario, population, engine, before, plan)
        task = None
        if engine.shards > 1 and plan.rows and not plan.frozen and len(plan.clients):
            side = Side.of(Channel.UPDATES, before, layout, roots)
            task = aggregation_task(scenario, plan, sampled, side)
        try:
            outcome = engine.train(plan, start, task) if len(plan.clients) else _passed_over(before)
        except ScenarioError as error:
            raise _with_remedy(error, scenario, plan) from error
        results: dict[Channel, AggregationResult] = {}
        client, server = outcome.client_vector, before.server
        changes: Memory = dict(outcome.memory)
        aggregate = partial(_aggregate, scenario, plan, sampled, before, layout, roots, record, outcome)
        moved: torch.Tensor | None = None
        if scenario.protocol.client_sync == "personal":
            client = before.client
            kept, moved = keep_portions(before, plan, outcome)
            changes.update(kept)
        elif client is None:
            result, client, kept = aggregate(Channel.UPDATES)
            results[Channel.UPDATES] = result
            changes.update(kept)
        if outcome.server_vector is not None:
            server = outcome.server_vector.cpu()
        elif outcome.server_sums or outcome.server_rows:
            result, server, kept = aggregate(Channel.SERVER_UPDATES)
            results[Channel.SERVER_UPDATES] = result
            changes.update(kept)
        if len(plan.clients):
            changes.update(after(scenario, plan, outcome, before))
            if remembers:
                changes[LAST_MOVE] = {"move": client.cpu() - before.client}
        state = replace(before, round=round, client=client.cpu(), server=server.cpu()).remember(changes)
        trained = sum(record.loss for record in outcome.records.values())
        diverged = not (
            math.isfinite(trained)
            and bool(state.client.isfinite().all() and state.server.isfinite().all())
            and (moved is None or bool(moved.isfinite().all()))
        )
        evaluated = None
        if round % scenario.evaluation.every == 0 or round == rounds or diverged:
            tested = [outcome.tests[position] for position in sorted(outcome.tests)]
            own = state.client_portions if scenario.protocol.client_sync == "personal" else None
            scores = (
                ClientScores.joined(tested)
                if tested
                else engine.evaluate(evaluated_clients, state.client, state.server, own)
            )
            evaluated = Evaluated.of(scores)
        seconds = time.perf_counter() - began
        tampered = attack_rows(scenario.attack, round, outcome.tampered)
        attacked = bool(plan.malicious or tampered) or any(result.attack is not None for result in results.values())
        norm = float((state.client - before.client if moved is None else moved).norm())
        if evaluated is not None:
            record_evaluation(tables, round, evaluated, diverged)
        timed = None if clock is None or not len(plan.clients) else clock.timed(plan, late)
        row = record_round(
            tables,
            plan,
            participation,
            outcome,
            results,
            engine.counts(),
            absent_samples=population.train_sizes(participation.absent.clients),
            norm=norm,
            seconds=seconds,
            attacked=attacked,
            diverged=diverged,
            timed=timed,
            tampered=tampered,
        )
        progress.state = state
        if round % scenario.checkpoint_every == 0 or round == rounds or round in keep or diverged:
            tables.sync()
            write_checkpoint(checkpoints, state, layout, scenario.hash, keep)
        loss, accuracy = row["train_loss"], row["train_accuracy"]
        virtual = None if timed is None else timed.round_s
        watch(
            RoundReport(round, rounds, seconds, plan.reporting, loss, accuracy, attacked, evaluated, diverged, virtual)
        )
        if diverged:
            break
    return Finish(progress.state, diverged)


def _aggregate(
    scenario: Scenario,
    plan: RoundPlan,
    sampled: SampledCohort,
    before: GlobalState,
    layout: Layout,
    roots: Mapping[Channel, torch.Tensor],
    record: Record,
    outcome: Outcome,
    channel: Channel,
) -> tuple[AggregationResult, torch.Tensor, Memory]:
    """The aggregated portion, the next global portion, and what rule and server optimiser remember."""
    task = aggregation_task(scenario, plan, sampled, Side.of(channel, before, layout, roots))
    try:
        result = aggregate_side(scenario, plan, task, outcome, record)
    except ScenarioError as error:
        raise _with_remedy(error, scenario, plan) from error
    return result, *next_portion(scenario, task, result, before.memory)


def _root_portions(
    scenario: Scenario, population: Population, engine: Engine, before: GlobalState, plan: RoundPlan
) -> dict[Channel, torch.Tensor]:
    """What each rule's root clients make of the round's start, client portion or server replica [d], where it asks for
    some.

    They train beside the cohort, honestly, with fresh optimisers and against a server portion that is then thrown away,
    as are portions of their own; they are in no table. A root client may also be drawn into the cohort, and lie there.
    """
    played: dict[tuple[int, ...], Outcome] = {}
    found: dict[Channel, torch.Tensor] = {}
    for channel, wanted in (
        (Channel.UPDATES, plan.rows and not plan.frozen),
        (Channel.SERVER_UPDATES, plan.server_rows),
    ):
        roots = roots_of(rule_on(scenario, channel, plan.round)) if wanted and len(plan.clients) else ()
        if not roots:
            continue
        if roots not in played:
            clients = np.array(roots, dtype=np.int64)
            everybody = SampledCohort(clients, np.zeros(len(clients), dtype=bool))
            nobody = everybody.where(everybody.malicious)
            alone = make_plan(scenario, population, plan.round, Participation(everybody, nobody, nobody))
            alone = replace(alone, rows=False, server_rows=False, detects=False)
            portions = {path: kept for path, kept in before.memory.items() if path in _kept_for_roots(roots)}
            played[roots] = engine.train(alone, replace(before, memory=portions))
        outcome = played[roots]
        found[channel] = sum_groups(outcome.server_sums if channel is Channel.SERVER_UPDATES else outcome.client_sums)
    return found


def evaluation_clients(scenario: Scenario, population: int) -> np.ndarray:
    """Whose test sets judge the global model: the same clients in every round and trial, int64, ascending."""
    count = scenario.evaluation.clients
    if count is None or count >= population:
        return np.arange(population, dtype=np.int64)
    return np.sort(rng.stream(scenario.seed, "evaluation").choice(population, count, replace=False, shuffle=False))


def check_population(scenario: Scenario, info: PopulationInfo) -> None:
    """Raise where a scenario and the data that it opened do not fit each other."""
    model = scenario.model
    scenario.cohort.check(info.clients, info.name)
    for rule in (scenario.defense, scenario.server_defense):
        for root in roots_of(rule):
            if root >= info.clients:
                raise ScenarioError(
                    f"{type(rule).__name__} names the root client {root}, but the population {info.name!r} has only "
                    f"{info.clients} clients, "
                    "counted from 0"
                )
    if info.shape != model.input_shape:
        raise PopulationError(
            f"{type(model).__name__} takes samples of shape {model.input_shape}, but population {info.name!r} has "
            f"{info.shape}; "
            "choose a model for that shape"
        )
    if info.dtype == "float32" and scenario.pixels in ("inverted", "centred"):
        raise ScenarioError(
            f"Scenario.pixels={scenario.pixels!r} is about bytes, but population {info.name!r} holds float32 numbers, "
            "which the "
            "network sees as they are; leave pixels out"
        )
    if info.classes > model.classes:
        raise PopulationError(
            f"{type(model).__name__} tells {model.classes} classes apart, but population {info.name!r} has "
            f"{info.classes}"
        )


def _with_remedy(error: ScenarioError, scenario: Scenario, plan: RoundPlan) -> ScenarioError:
    """What an attack or a rule says of a cohort it cannot bear, and, where the cohort is a small one, what would
    help."""
    if plan.reporting >= scenario.cohort.size:
        return error
    return ScenarioError(
        f"{error}; only {plan.reporting} clients reported in round {plan.round}: "
        f"Cohort.at_least={plan.reporting + 1} would pass over rounds like this"
    )


def _passed_over(state: GlobalState) -> Outcome:
    """A round in which nobody trained: all portions and optimiser states stay as they were."""
    outcome = Outcome()
    outcome.client_vector = state.client
    return outcome


def _kept_for_roots(roots: tuple[int, ...]) -> set[str]:
    """What of the memory root clients train with: the server optimiser's, and portions of their own."""
    return {SERVER_OPTIMIZER, *(client_path(client, PORTION) for client in roots)}
