"""A round of a run played again: the state before it, and what an adversary observes in it.

Rounds are functions of the state before them, so nothing has to be recorded to be observed later: the nearest
checkpoint and the scenario give every message again, bit for bit. Files under ``observations`` save the time.
"""

from __future__ import annotations

from dataclasses import dataclass

from raysplit.aggregation.rules.secure_aggregation import SecureAggregation
from raysplit.analysis.inference.tail_gradients import TailGradients
from raysplit.attacks.inference.observe import ObservationHook, Observe
from raysplit.channels.channel import Channel
from raysplit.channels.hooks import Observation
from raysplit.engine.local import LocalEngine
from raysplit.errors import RunError
from raysplit.memory.global_state import GlobalState
from raysplit.population.opening import open_population
from raysplit.population.population import Population
from raysplit.scenario.layout import Layout
from raysplit.scenario.scenario import Scenario
from raysplit.simulation.planning import plan_round
from raysplit.simulation.round import Simulation, play_round
from raysplit.storage.checkpoints import checkpoint_rounds, read_checkpoint
from raysplit.storage.observations import read_observations
from raysplit.storage.run_folder import RunFolder
from raysplit.storage.updates import RecordedRound, path_of, read_updates, recorded_rounds
from raysplit.threads import one_thread


@dataclass(frozen=True)
class ObservedRound:
    """``before``: the state with which the round began. ``observations``: in the order of ``in_order``.
    ``malicious``: clients whose data or messages were poisoned in it."""

    round: int
    before: GlobalState
    observations: list[Observation]
    malicious: frozenset[int]


@one_thread()
def observe_round(
    folder: RunFolder, scenario: Scenario, observe: Observe, tail_gradients: TailGradients | None = None
) -> ObservedRound:
    """What ``observe`` asks for, of its only round: from the run's ``observations`` where that is what the scenario kept,
    else by playing again from the nearest checkpoint before it. ``tail_gradients`` are never in a file, so with them the
    round is played again.

    Raises ``RunError`` where the run has not come so far.
    """
    (round,) = observe.rounds
    start = _begin(folder, scenario, round)
    stored = tail_gradients is None and _covers(scenario.observe, observe)
    kept = read_observations(folder.observations, round) if stored else None
    if kept is not None:
        return ObservedRound(round, start.state, kept, start.malicious)
    hooks = (ObservationHook.of(observe, scenario.training.batch_size),)
    with LocalEngine(start.scenario, hooks=hooks, gradient_rule=tail_gradients) as engine:
        played = play_round(Simulation.of(start.scenario, start.population, engine, start.layout), start.state)
    return ObservedRound(round, start.state, played.outcome.observations, start.malicious)


@dataclass(frozen=True)
class ObservedUpdates:
    """``before``: the state with which the round began. ``recorded``: what the fed server received. ``malicious``:
    clients whose data, messages or updates were poisoned in it."""

    round: int
    before: GlobalState
    recorded: RecordedRound
    malicious: frozenset[int]


@one_thread()
def observe_updates(folder: RunFolder, scenario: Scenario, round: int) -> ObservedUpdates:
    """The client portions' updates of a round: from the run's ``updates`` where the scenario recorded that round, else by
    playing again. Raises ``RunError`` where the run has not come so far."""
    start = _begin(folder, scenario, round)
    if round in recorded_rounds(folder.updates):
        recorded = read_updates(path_of(folder.updates, round))
    else:
        noted: list[RecordedRound] = []
        recording, masked = start.scenario, isinstance(start.scenario.defense, SecureAggregation)
        if not masked:  # else rows are gathered in any case, and what is noted of them is masked
            recording = recording.replace(record_updates_every=1)
        with LocalEngine(recording) as engine:
            of = (recording, start.population, engine, start.layout, noted.append)
            play_round(Simulation.of(*of, record_always=masked), start.state)
        found = [one for one in noted if one.channel is Channel.UPDATES]
        if not found:
            raise RunError(
                f"no client reported in round {round}, so there is no update to attack; choose another round"
            )
        (recorded,) = found
    lied = {int(client) for client in recorded.clients[recorded.malicious.numpy()]}
    return ObservedUpdates(round, start.state, recorded, start.malicious | frozenset(lied))


@dataclass(frozen=True)
class _Beginning:
    """The state before a round, and what the round is played with; ``scenario`` observes nothing."""

    scenario: Scenario
    population: Population
    layout: Layout
    state: GlobalState
    malicious: frozenset[int]


def _begin(folder: RunFolder, scenario: Scenario, round: int) -> _Beginning:
    done = int(folder.state().get("rounds", 0))
    if round > done:
        raise RunError(f"{folder.path} has played {done} rounds, so there is no round {round} to observe yet")
    state = _before(folder, scenario, round)
    plain = scenario.replace(observe=None)
    population, layout = open_population(plain.population), Layout(plain)
    with LocalEngine(plain) as engine:
        simulation = Simulation.of(plain, population, engine, layout)
        while state.round < round - 1:
            state = play_round(simulation, state).state
    planned = plan_round(plain, population, simulation.sampler, simulation.clock, state)
    return _Beginning(plain, population, layout, state, frozenset(planned.plan.malicious))


def _covers(kept: Observe | None, asked: Observe) -> bool:
    """Whether a run's own observations are all that is asked for."""
    if kept is None or kept.party != asked.party or not set(asked.channels) <= set(kept.channels):
        return False
    whose = kept.clients is None or (asked.clients is not None and set(asked.clients) <= set(kept.clients))
    return whose and set(asked.rounds) <= set(kept.rounds) and asked.max_samples <= kept.max_samples


def _before(folder: RunFolder, scenario: Scenario, round: int) -> GlobalState:
    """The newest state from which ``round`` is still to come: a checkpoint or the start."""
    layout = Layout(scenario)
    earlier = [(at, path) for at, path in checkpoint_rounds(folder.checkpoints) if at < round]
    if not earlier:
        return layout.initial()
    return read_checkpoint(max(earlier)[1], layout, scenario.hash)
