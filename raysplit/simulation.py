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
from typing import TypeVar

import numpy as np
import torch

from raysplit import rng
from raysplit.costs.clock import Clock
from raysplit.defenses.aggregation.aggregation import roots_of
from raysplit.defenses.aggregation.deferred import rule_in_force
from raysplit.defenses.aggregation.mean import Mean
from raysplit.engine.checkpoints import write_checkpoint
from raysplit.engine.engine import ClientScores, Engine, RoundStart
from raysplit.errors import PopulationError, ScenarioError
from raysplit.fed_server import attacks_in, meet, records_updates, step_on_aggregate, sum_groups
from raysplit.metrics.tables import Tables
from raysplit.metrics.updates import write_updates
from raysplit.pace import arrived, carry, paced, parked_in, replicas_stay, spread, turnout_of
from raysplit.personal import keep_portions
from raysplit.population.cohort import Drawn, Turnout, Turnouts
from raysplit.population.population import Population, PopulationInfo
from raysplit.protocols.as_published import portion_weights, published
from raysplit.protocols.plan import Outcome, RoundPlan, cut_groups
from raysplit.protocols.visits import handover_order, steps_per_epoch
from raysplit.round_record import Evaluated, record_evaluation, record_round
from raysplit.scenario import Scenario
from raysplit.state import GlobalState, Layout
from raysplit.threads import one_thread

T = TypeVar("T")


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

    Checkpoints are written every ``scenario.checkpoint_every`` rounds, after the last, and after those in ``keep``, which stay.
    Recorded updates go into the folder ``updates`` beside ``checkpoints``.
    """
    check_population(scenario, population.info)
    turnouts = Turnouts(scenario.cohort, scenario.seed, population)
    judges = evaluation_clients(scenario, population.info.clients)
    clock = Clock.of(scenario)
    rounds = scenario.training.rounds
    diverged = False
    record = partial(write_updates, checkpoints.parent / "updates")
    for round in range(progress.state.round + 1, rounds + 1):
        began = time.perf_counter()
        before = progress.state
        turnout = turnout_of(scenario, turnouts, round, before.carried)
        plan = make_plan(scenario, population, round, turnout)
        late = None if clock is None or not len(plan.clients) else clock.late(plan)
        if late is not None:
            turnout = late.without(turnout)
            plan = make_plan(scenario, population, round, turnout)
        plan = paced(scenario, plan, before.carried)
        drawn = turnout.reporting
        start = RoundStart(
            before.client,
            before.server,
            before.server_state,
            _of_cohort(before.client_states, plan),
            _of_cohort(before.client_portions, plan),
            *parked_in(plan, before.carried),
            before.carried if replicas_stay(scenario.protocol) else {},
        )
        outcome = engine.train(plan, start) if len(plan.clients) else _passed_over(before)
        meeting = None
        client, portions, memory = outcome.client_vector, before.client_portions, before.defense
        fed_states = dict(before.fed_states)
        factor = 1.0 if scenario.training.schedule is None else scenario.training.schedule.factor(round, rounds)
        fed = scenario.training.aggregate
        moved: torch.Tensor | None = None
        if scenario.protocol.meeting == "personal":
            client, (portions, moved) = before.client, keep_portions(before, plan, outcome)
        elif client is None:
            root = _root_portion(scenario, population, engine, before, round) if plan.rows else None
            here = arrived(plan, drawn, outcome)
            try:
                meeting = meet(scenario, *here, before.client, layout.client.parameters, memory, root, record)
            except ScenarioError as error:
                raise _with_remedy(error, scenario, plan) from error
            memory = meeting.memory
            meeting.update_norms = spread(plan, meeting.update_norms)
            client, fed_states["client"] = step_on_aggregate(
                fed, before.client, meeting.portion, layout.client.parameters, before.fed_states.get("client"), factor
            )
        server, server_state = before.server, before.server_state
        if outcome.server_vector is not None:
            server, server_state = outcome.server_vector.cpu(), outcome.server_state or {}
        elif outcome.server_sums:
            averaged = sum_groups(outcome.server_sums)
            server, fed_states["server"] = step_on_aggregate(
                fed, before.server, averaged, layout.server.parameters, before.fed_states.get("server"), factor
            )
        kept = {**before.client_states, **outcome.client_states}
        carried = carry(scenario, plan, outcome, before)
        state = GlobalState(
            round, client.cpu(), server.cpu(), server_state, kept, fed_states, portions, memory, carried
        )
        trained = sum(record.loss for record in outcome.records.values())
        diverged = not (
            math.isfinite(trained)
            and bool(state.client.isfinite().all() and state.server.isfinite().all())
            and (moved is None or bool(moved.isfinite().all()))
        )
        evaluated = None
        if round % scenario.evaluation.every == 0 or round == rounds or diverged:
            tested = [outcome.tests[position] for position in sorted(outcome.tests)]
            own = state.client_portions if scenario.protocol.meeting == "personal" else None
            scores = ClientScores.joined(tested) if tested else engine.evaluate(judges, state.client, state.server, own)
            evaluated = Evaluated.of(scores)
        seconds = time.perf_counter() - began
        attacked = meeting is not None and meeting.attack is not None
        norm = float((state.client - before.client if moved is None else moved).norm())
        if evaluated is not None:
            record_evaluation(tables, round, evaluated, diverged)
        timed = None if clock is None or not len(plan.clients) else clock.timed(plan, late)
        row = record_round(
            tables,
            plan,
            turnout,
            outcome,
            meeting,
            engine.counts(),
            absent_samples=population.train_sizes(turnout.absent.clients),
            norm=norm,
            seconds=seconds,
            attacked=attacked,
            diverged=diverged,
            timed=timed,
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


def make_plan(scenario: Scenario, population: Population, round: int, turnout: Turnout) -> RoundPlan:
    """What every party must agree on for this round; depends on the scenario and the round alone."""
    training = scenario.training
    drawn, lost = turnout.reporting, len(turnout.lost.clients)
    clients = np.concatenate([drawn.clients, turnout.lost.clients])
    samples = population.train_sizes(clients)
    if not samples.all():
        raise PopulationError(
            f"client {int(clients[samples == 0][0])} of population {population.info.name!r} has no training samples "
            f"but was drawn in round {round}; leave such clients out when the population is prepared"
        )
    if scenario.protocol.meeting == "one_party" and len(clients):
        clients, samples = np.zeros(1, dtype=np.int64), samples.sum(keepdims=True)
    steps = np.array([steps_per_epoch(int(n), training.batch_size) for n in samples], dtype=np.int64)
    rule = rule_in_force(scenario.defense, round)
    rows = not isinstance(rule, Mean) or attacks_in(scenario, round, drawn) is not None
    rows = rows or scenario.protocol.meeting == "personal" or records_updates(scenario, round)
    return RoundPlan(
        round=round,
        seed=scenario.seed,
        clients=clients,
        cohort=drawn.clients,
        samples=samples.astype(np.int64),
        steps=steps * training.local_epochs,
        weights=_weights(scenario, round, samples, lost),
        groups=cut_groups(samples, scenario.group_count),
        rows=rows,
        client_lr=training.client_lr_at(round),
        server_lr=training.server_lr_at(round),
        client_state=scenario.client_state,
        server_state=scenario.server_state,
        batch_size=training.batch_size,
        lost=lost,
    )


def _weights(scenario: Scenario, round: int, samples: np.ndarray, lost: int) -> np.ndarray:
    """With which weights client portions are summed, float64 [n]: 0 for the last ``lost`` clients."""
    counted = samples.astype(np.float64)
    counted[len(samples) - lost :] = 0
    weighting = published(scenario.protocol).weighting
    if weighting == "samples":
        return portion_weights(weighting, counted, -1)
    last = int(handover_order(scenario.protocol, scenario.seed, round, len(samples))[-1])
    return portion_weights(weighting, counted, last)


def _root_portion(
    scenario: Scenario, population: Population, engine: Engine, before: GlobalState, round: int
) -> torch.Tensor | None:
    """What the rule's root clients make of the round's start, [d], or None where it has none.

    They train beside the cohort, honestly, with fresh optimisers and against a server portion that is then thrown away; they are in no
    table. A root client may also be drawn into the cohort, and lie there.
    """
    roots = np.array(roots_of(rule_in_force(scenario.defense, round)), dtype=np.int64)
    if not len(roots):
        return None
    everybody = Drawn(roots, np.zeros(len(roots), dtype=bool))
    nobody = everybody.where(everybody.malicious)
    plan = replace(make_plan(scenario, population, round, Turnout(everybody, nobody, nobody)), rows=False)
    return sum_groups(engine.train(plan, RoundStart(before.client, before.server, before.server_state, {})).client_sums)


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
    for root in roots_of(scenario.defense):
        if root >= info.clients:
            raise ScenarioError(
                f"{type(scenario.defense).__name__} names the root client {root}, but the population {info.name!r} has only {info.clients} clients, "
                "counted from 0"
            )
    if info.shape != model.input_shape:
        raise PopulationError(
            f"{type(model).__name__} takes samples of shape {model.input_shape}, but population {info.name!r} has {info.shape}; "
            "choose a model for that shape"
        )
    if info.dtype == "float32" and scenario.pixels in ("inverted", "centred"):
        raise ScenarioError(
            f"Scenario.pixels={scenario.pixels!r} is about bytes, but population {info.name!r} holds float32 numbers, which the "
            "network sees as they are; leave pixels out"
        )
    if info.classes > model.classes:
        raise PopulationError(
            f"{type(model).__name__} tells {model.classes} classes apart, but population {info.name!r} has {info.classes}"
        )


def _with_remedy(error: ScenarioError, scenario: Scenario, plan: RoundPlan) -> ScenarioError:
    """What an attack or a rule says of a cohort it cannot bear, and, where the cohort is a small one, what would help."""
    if plan.reporting >= scenario.cohort.size:
        return error
    return ScenarioError(
        f"{error}; only {plan.reporting} clients reported in round {plan.round}: "
        f"Cohort.at_least={plan.reporting + 1} would pass over rounds like this"
    )


def _passed_over(state: GlobalState) -> Outcome:
    """A round in which nobody trained: all portions and optimiser states stay as they were."""
    outcome = Outcome.empty()
    outcome.client_vector = state.client
    return outcome


def _of_cohort(kept: Mapping[int, T], plan: RoundPlan) -> dict[int, T]:
    """Of what is kept by client id, that of this round's clients."""
    mine = (int(client) for client in plan.clients)
    return {client: kept[client] for client in mine if client in kept}
