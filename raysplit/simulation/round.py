"""A round, as the papers' algorithms read; ``play_round`` follows these steps line by line.

1. Select: who takes part, who of them reports, who is malicious (``planning.py``).
2. Plan: who trains on what, from which memory, in which groups and in which order. The protocol has the last word.
3. Root clients train, where an aggregation rule compares the cohort with some (``root_clients.py``).
4. Train: the engine plays the plan; attacks on data and messages, and detection, act where the messages are.
5. Aggregate: client portions, then server replicas: gather → poison → rule → server optimiser (``aggregation.py``).
6. Remember: what clients, servers, rules and the protocol will find in the next round goes into the state's memory.
7. Evaluate, where it is due. What is written of a round is ``recorder.py``'s.

Who is malicious is known here and in the tables, nowhere else. Where a round is played is up to the engine and
cannot change a bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from raysplit.aggregation.fed_server import AggregationResult, without_clients
from raysplit.attacks.messages.tampering import attack_rows
from raysplit.attacks.updates.neurotoxin import needs_last_move
from raysplit.channels.channel import Channel
from raysplit.costs.clock import Clock, Timed
from raysplit.engine.engine import Engine, EngineCounts
from raysplit.errors import ScenarioError
from raysplit.memory.global_state import GlobalState
from raysplit.memory.memory import LAST_MOVE, Memory
from raysplit.population.population import Population
from raysplit.population.selection.cohort import Participation, ParticipationSampler
from raysplit.population.selection.draws import Poisson
from raysplit.protocols.outcome import Outcome
from raysplit.protocols.plan import RoundPlan
from raysplit.scenario.client_privacy_check import private_rules
from raysplit.scenario.layout import Layout
from raysplit.scenario.scenario import Scenario
from raysplit.simulation.aggregation import Record, Side, aggregate_side, aggregation_task, next_portion
from raysplit.simulation.evaluation import Evaluated, evaluate, evaluation_clients
from raysplit.simulation.personal import keep_portions
from raysplit.simulation.planning import PlannedRound, plan_round
from raysplit.simulation.privacy import PrivacySpent, spend
from raysplit.simulation.root_clients import train_root_clients


@dataclass(frozen=True)
class Simulation:
    """All that every round of a run is played with. ``record``: what is done with the updates of recorded rounds,
    and of all whose updates are gathered with ``record_always``."""

    scenario: Scenario
    population: Population
    engine: Engine
    layout: Layout
    record: Record
    sampler: ParticipationSampler
    evaluated: np.ndarray
    clock: Clock | None
    record_always: bool = False

    @staticmethod
    def of(
        scenario: Scenario,
        population: Population,
        engine: Engine,
        layout: Layout,
        record: Record = lambda updates: None,
        record_always: bool = False,
    ) -> Simulation:
        """Raises ``ScenarioError`` or ``PopulationError`` where the cohort does not fit the population."""
        sampler = ParticipationSampler(scenario.cohort, scenario.seed, population)
        clients = evaluation_clients(scenario, population.info)
        clock = Clock.of(scenario)
        return Simulation(scenario, population, engine, layout, record, sampler, clients, clock, record_always)


@dataclass(frozen=True)
class PlayedRound:
    """A round that was played. ``state``: after it. ``results``: of each channel on which portions were aggregated.
    ``moved``: [d_C], by how much client portions moved in the mean. ``tampered``: the attacks table's rows of attacks
    on messages. ``evaluated``: None where no evaluation was due. ``timed``: None without imagined devices. ``privacy``:
    None where nobody clips."""

    plan: RoundPlan
    participation: Participation
    outcome: Outcome
    state: GlobalState
    moved: torch.Tensor
    diverged: bool
    counts: EngineCounts
    seconds: float
    results: Mapping[Channel, AggregationResult] = field(default_factory=dict)
    tampered: tuple[dict[str, Any], ...] = ()
    evaluated: Evaluated | None = None
    timed: Timed | None = None
    privacy: PrivacySpent | None = None

    @property
    def attacked(self) -> bool:
        """Whether anybody acted maliciously."""
        poisoned = any(result.attack is not None for result in self.results.values())
        return bool(self.plan.malicious or self.tampered) or poisoned


def play_round(s: Simulation, state: GlobalState) -> PlayedRound:
    """The round after ``state``. Raises ``ScenarioError`` as an attack or a rule does that cannot take the cohort."""
    began = time.perf_counter()
    planned = plan_round(s.scenario, s.population, s.sampler, s.clock, state)
    plan = planned.plan
    roots = train_root_clients(s.scenario, s.population, s.engine, state, plan)
    try:
        outcome, sharded = train(s, planned, state, roots)
        aggregated = aggregate(s, planned, state, Trained(outcome, roots, sharded))
    except ScenarioError as error:
        raise _with_remedy(error, s.scenario, plan) from error
    after = remember(s, planned, state, aggregated, outcome)
    privacy, spent = spend(s.scenario, plan, state.memory, s.population.info.trainable)
    after = after.remember(spent)
    diverged = _diverged(outcome, after, aggregated.moved)
    due = plan.round % s.scenario.evaluation.every == 0 or plan.round == s.scenario.training.rounds or diverged
    evaluated = evaluate(s.scenario, s.engine, s.evaluated, after, outcome) if due else None
    return PlayedRound(
        plan,
        planned.participation,
        outcome,
        after,
        aggregated.moved,
        diverged,
        s.engine.counts(),
        time.perf_counter() - began,
        aggregated.results,
        tuple(attack_rows(s.scenario.attack, plan.round, outcome.tampered)),
        evaluated,
        None if s.clock is None or not len(plan.clients) else s.clock.timed(plan, planned.late),
        privacy,
    )


def train(
    s: Simulation, planned: PlannedRound, state: GlobalState, roots: Mapping[Channel, torch.Tensor]
) -> tuple[Outcome, AggregationResult | None]:
    """Step 4: what came back, and what column shards made of the client portions where these are aggregated there.

    A round that is passed over trains nobody and leaves all portions as they were.
    """
    plan = planned.plan
    if not len(plan.clients):
        return Outcome(client_vector=state.client), None
    start = state.for_round(plan.clients)
    if s.engine.shards == 1 or not plan.rows or plan.frozen:
        return s.engine.train(plan, start), None
    side = Side.of(Channel.UPDATES, state, s.layout, roots)
    task = aggregation_task(s.scenario, plan, planned.participation.reporting, side)
    return s.engine.train_sharded(plan, start, task)


@dataclass(frozen=True)
class Trained:
    """What steps 3 and 4 gave: the cohort's ``outcome``, what ``roots`` trained, and ``sharded`` as in ``train``."""

    outcome: Outcome
    roots: Mapping[Channel, torch.Tensor]
    sharded: AggregationResult | None = None


@dataclass(frozen=True)
class Aggregated:
    """The next global portions, and what is remembered of how they came about."""

    client: torch.Tensor
    server: torch.Tensor
    moved: torch.Tensor
    memory: Memory
    results: dict[Channel, AggregationResult]


def aggregate(s: Simulation, planned: PlannedRound, state: GlobalState, trained: Trained) -> Aggregated:
    """Step 5. A portion that was handed over or shared is the round's last; portions of clients' own stay theirs."""
    if not len(planned.plan.clients):
        return _passed_over(s, planned, state)
    outcome = trained.outcome
    portions = {Channel.UPDATES: outcome.client_vector, Channel.SERVER_UPDATES: outcome.server_vector}
    results: dict[Channel, AggregationResult] = {}
    memory: Memory = {}
    moved: torch.Tensor | None = None
    if s.scenario.protocol.client_sync == "personal":
        portions[Channel.UPDATES] = state.client
        memory, moved = keep_portions(state, planned.plan, outcome)
    if not (outcome.server_sums or outcome.server_rows) and outcome.server_vector is None:
        portions[Channel.SERVER_UPDATES] = state.server
    for channel in (channel for channel, portion in portions.items() if portion is None):
        side = Side.of(channel, state, s.layout, trained.roots)
        task = aggregation_task(s.scenario, planned.plan, planned.participation.reporting, side)
        results[channel] = aggregate_side(
            s.scenario, planned.plan, task, outcome, s.record, trained.sharded, s.record_always
        )
        portions[channel], remembered = next_portion(s.scenario, task, results[channel], state.memory)
        memory.update(remembered)
    client, server = portions[Channel.UPDATES], portions[Channel.SERVER_UPDATES]
    assert client is not None and server is not None
    client, server = client.cpu(), server.cpu()
    return Aggregated(client, server, client - state.client if moved is None else moved, memory, results)


def _passed_over(s: Simulation, planned: PlannedRound, state: GlobalState) -> Aggregated:
    """All portions stay as they were, but for the noise of a rule that must not tell that nobody was drawn."""
    portions = {Channel.UPDATES: state.client, Channel.SERVER_UPDATES: state.server}
    results: dict[Channel, AggregationResult] = {}
    memory: Memory = {}
    rules = private_rules(s.scenario) if isinstance(s.scenario.cohort.draw, Poisson) else {}
    for channel, rule in rules.items():
        side = Side.of(channel, state, s.layout, {})
        task = aggregation_task(s.scenario, planned.plan, planned.participation.reporting, side)
        began = time.perf_counter()
        applied = rule.of_nobody(task.portion[: task.parameters], task.rule_context())
        results[channel] = without_clients(task, applied, time.perf_counter() - began)
        portions[channel], remembered = next_portion(s.scenario, task, results[channel], state.memory)
        memory.update(remembered)
    client, server = portions[Channel.UPDATES].cpu(), portions[Channel.SERVER_UPDATES].cpu()
    return Aggregated(client, server, client - state.client, memory, results)


def remember(
    s: Simulation, planned: PlannedRound, state: GlobalState, aggregated: Aggregated, outcome: Outcome
) -> GlobalState:
    """Step 6. After a round that was passed over everybody remembers what they did before it."""
    after = replace(state, round=planned.plan.round, client=aggregated.client, server=aggregated.server)
    if not len(planned.plan.clients):
        return after.remember(aggregated.memory)
    changes: Memory = {**outcome.memory, **aggregated.memory}
    protocols = s.scenario.protocol.after(planned.plan, outcome, state)
    if not isinstance(protocols, Mapping):
        raise ScenarioError(
            f"{type(s.scenario.protocol).__name__}.after() must return its memory by path, {{}} for none, but it "
            f"returned {type(protocols).__name__}"
        )
    changes.update(protocols)
    if needs_last_move(s.scenario.attack) and s.scenario.protocol.client_sync == "averaging":
        changes[LAST_MOVE] = {"move": aggregated.moved}
    return after.remember(changes)


def _diverged(outcome: Outcome, state: GlobalState, moved: torch.Tensor) -> bool:
    """Whether the training loss, a portion or an update stopped being finite."""
    loss = sum(record.loss for record in outcome.records.values())
    finite = state.client.isfinite().all() and state.server.isfinite().all() and moved.isfinite().all()
    return not (math.isfinite(loss) and bool(finite))


def _with_remedy(error: ScenarioError, scenario: Scenario, plan: RoundPlan) -> ScenarioError:
    """What an attack or a rule says of a cohort that it cannot take, and, where the cohort is a small one, what would
    help."""
    if plan.reporting >= scenario.cohort.size:
        return error
    return ScenarioError(
        f"{error}; only {plan.reporting} clients reported in round {plan.round}: "
        f"Cohort.at_least={plan.reporting + 1} would pass over rounds like this"
    )
