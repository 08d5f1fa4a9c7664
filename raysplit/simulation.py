"""The round: draw the cohort → train → gather → attack → aggregate → evaluate → record → checkpoint.

Reads like the papers' algorithm. Who is malicious is known here and in the metrics, nowhere else. Where it runs is the
engine's business and cannot change a bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from raysplit import rng
from raysplit.defenses.aggregation.mean import Mean
from raysplit.engine.checkpoints import write_checkpoint
from raysplit.engine.engine import ClientScores, Engine, RoundStart
from raysplit.errors import PopulationError, ScenarioError
from raysplit.fed_server import attacks_in, meet, step_on_aggregate, sum_groups
from raysplit.metrics.tables import Tables
from raysplit.optimizers import State
from raysplit.pace import arrived, carry, draw_round, paced, parked_in, replicas_stay, spread
from raysplit.population.cohort import Drawn, malicious_ranks
from raysplit.population.population import Population, PopulationInfo
from raysplit.protocols.as_published import portion_weights, published
from raysplit.protocols.plan import RoundPlan, cut_groups
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.protocols.visits import handover_order, steps_per_epoch
from raysplit.round_record import Evaluated, record_evaluation, record_round
from raysplit.scenario import Scenario
from raysplit.state import GlobalState, Layout
from raysplit.threads import one_thread


@dataclass(frozen=True)
class RoundReport:
    """What a watcher hears after every round; ``evaluated`` is None in rounds without an evaluation."""

    round: int
    rounds: int
    seconds: float
    clients: int
    train_loss: float
    train_accuracy: float
    attacked: bool
    evaluated: Evaluated | None
    diverged: bool


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
    """
    check_population(scenario, population.info)
    ranks = malicious_ranks(scenario.seed, population.info.clients)
    judges = evaluation_clients(scenario, population.info.clients)
    rounds = scenario.training.rounds
    diverged = False
    for round in range(progress.state.round + 1, rounds + 1):
        began = time.perf_counter()
        before = progress.state
        drawn = draw_round(scenario, round, ranks, before.carried)
        plan = paced(scenario, make_plan(scenario, population, round, drawn), before.carried)
        start = RoundStart(
            before.client,
            before.server,
            before.server_state,
            _kept(before, plan),
            *parked_in(plan, before.carried),
            before.carried if replicas_stay(scenario.protocol) else {},
        )
        outcome = engine.train(plan, start)
        meeting = None
        client = outcome.client_vector
        fed_states = dict(before.fed_states)
        factor = 1.0 if scenario.training.schedule is None else scenario.training.schedule.factor(round, rounds)
        fed = scenario.training.aggregate
        if client is None:
            meeting = meet(scenario, *arrived(plan, drawn, outcome), before.client, layout.client.parameters)
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
        state = GlobalState(round, client.cpu(), server.cpu(), server_state, kept, fed_states, carried)
        trained = sum(record.loss for record in outcome.records.values())
        diverged = not (
            math.isfinite(trained) and bool(state.client.isfinite().all() and state.server.isfinite().all())
        )
        evaluated = None
        if round % scenario.evaluation.every == 0 or round == rounds or diverged:
            tested = [outcome.tests[position] for position in sorted(outcome.tests)]
            scores = ClientScores.joined(tested) if tested else engine.evaluate(judges, state.client, state.server)
            evaluated = Evaluated.of(scores)
        seconds = time.perf_counter() - began
        attacked = meeting is not None and meeting.attack is not None
        norm = float((state.client - before.client).norm())
        row = record_round(
            tables,
            plan,
            drawn,
            outcome,
            meeting,
            engine.counts(),
            norm=norm,
            seconds=seconds,
            attacked=attacked,
            diverged=diverged,
        )
        if evaluated is not None:
            record_evaluation(tables, round, evaluated, diverged)
        progress.state = state
        if round % scenario.checkpoint_every == 0 or round == rounds or round in keep or diverged:
            tables.sync()
            write_checkpoint(checkpoints, state, layout, scenario.hash, keep)
        loss, accuracy = row["train_loss"], row["train_accuracy"]
        watch(RoundReport(round, rounds, seconds, len(plan.clients), loss, accuracy, attacked, evaluated, diverged))
        if diverged:
            break
    return Finish(progress.state, diverged)


def make_plan(scenario: Scenario, population: Population, round: int, drawn: Drawn) -> RoundPlan:
    """What every party must agree on for this round; depends on the scenario and the round alone."""
    training = scenario.training
    samples = population.train_sizes(drawn.clients)
    if not samples.all():
        raise PopulationError(
            f"client {int(drawn.clients[samples == 0][0])} of population {population.info.name!r} has no training samples "
            f"but was drawn in round {round}; leave such clients out when the population is prepared"
        )
    clients = drawn.clients
    if scenario.protocol.meeting == "one_party":
        clients, samples = np.zeros(1, dtype=np.int64), samples.sum(keepdims=True)
    steps = np.array([steps_per_epoch(int(n), training.batch_size) for n in samples], dtype=np.int64)
    rows = not isinstance(scenario.defense, Mean) or attacks_in(scenario, round, drawn) is not None
    return RoundPlan(
        round=round,
        seed=scenario.seed,
        clients=clients,
        cohort=drawn.clients,
        samples=samples.astype(np.int64),
        steps=steps * training.local_epochs,
        weights=_weights(scenario.protocol, scenario.seed, round, samples),
        groups=cut_groups(samples, scenario.group_count),
        rows=rows,
        client_lr=training.client_lr_at(round),
        server_lr=training.server_lr_at(round),
        client_state=scenario.client_state,
        server_state=scenario.server_state,
    )


def _weights(protocol: TrainingProtocol, seed: int, round: int, samples: np.ndarray) -> np.ndarray:
    weighting = published(protocol).weighting
    last = int(handover_order(protocol, seed, round, len(samples))[-1])
    return portion_weights(weighting, samples, last)


def evaluation_clients(scenario: Scenario, population: int) -> np.ndarray:
    """Whose test sets judge the global model: the same clients in every round and trial, int64, ascending."""
    count = scenario.evaluation.clients
    if count is None or count >= population:
        return np.arange(population, dtype=np.int64)
    return np.sort(rng.stream(scenario.seed, "evaluation").choice(population, count, replace=False, shuffle=False))


def check_population(scenario: Scenario, info: PopulationInfo) -> None:
    """Raise where a scenario and the data that it opened do not fit each other."""
    model = scenario.model
    if scenario.cohort.size > info.clients:
        raise ScenarioError(
            f"Cohort.size is {scenario.cohort.size}, but the population {info.name!r} has only {info.clients} clients; draw at most {info.clients}"
        )
    if info.shape != model.input_shape:
        raise PopulationError(
            f"{type(model).__name__} takes samples of shape {model.input_shape}, but population {info.name!r} has {info.shape}; "
            "choose a model for that shape"
        )
    if info.classes > model.classes:
        raise PopulationError(
            f"{type(model).__name__} tells {model.classes} classes apart, but population {info.name!r} has {info.classes}"
        )


def _kept(state: GlobalState, plan: RoundPlan) -> dict[int, State]:
    mine = (int(client) for client in plan.clients)
    return {client: state.client_states[client] for client in mine if client in state.client_states}
