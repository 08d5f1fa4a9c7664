"""A run, from one state to its last round: play a round → record it → checkpoint → tell whoever watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from raysplit.engine.engine import Engine
from raysplit.memory.global_state import GlobalState
from raysplit.population.population import Population
from raysplit.scenario.layout import Layout
from raysplit.scenario.malicious_check import check_malicious
from raysplit.scenario.network_check import check_network
from raysplit.scenario.population_check import check_population
from raysplit.scenario.scenario import Scenario
from raysplit.simulation.data_check import check_data
from raysplit.simulation.evaluation import Evaluated
from raysplit.simulation.planning import plan_round
from raysplit.simulation.privacy import PrivacySpent, ledger_of, spend
from raysplit.simulation.recorder import record_round
from raysplit.simulation.round import PlayedRound, Simulation, play_round
from raysplit.storage.checkpoints import write_checkpoint
from raysplit.storage.observations import write_observations
from raysplit.storage.tables import Tables
from raysplit.storage.updates import RecordedRound, write_updates
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
    privacy: PrivacySpent | None = None


@dataclass(frozen=True)
class Finish:
    """How a simulation ended: its last state, whether loss or weights stopped being finite, and, where its privacy budget
    ended it before its last round, a sentence that says so."""

    state: GlobalState
    diverged: bool
    stopped: str | None = None


class Progress:
    """The newest complete state, so that an interrupt between two rounds loses nothing."""

    def __init__(self, state: GlobalState) -> None:
        self.state = state


@dataclass(frozen=True)
class Output:
    """Where a run is written: ``tables``, and the folder of its ``checkpoints``, of which those after the rounds in
    ``keep`` stay. Recorded updates go into the folder ``updates`` beside it, observations into
    ``observations``."""

    tables: Tables
    checkpoints: Path
    keep: frozenset[int] = frozenset()

    def record(self, recorded: RecordedRound) -> None:
        """Write the updates of a recorded round."""
        write_updates(self.checkpoints.parent / "updates", recorded)

    def observe(self, played: PlayedRound) -> None:
        """Write what adversaries, and hooks that were attached from code, noted in a round."""
        write_observations(self.checkpoints.parent / "observations", played.plan.round, played.outcome.observations)


@one_thread()
def simulate(
    scenario: Scenario,
    population: Population,
    engine: Engine,
    output: Output,
    progress: Progress,
    watch: Callable[[RoundReport], None] = lambda report: None,
) -> Finish:
    """Run a scenario from ``progress.state`` to its last round; ``progress`` follows it round by round.

    Checkpoints are written every ``scenario.checkpoint_every`` rounds and after the last.
    """
    check_population(scenario, population.info)
    check_malicious(scenario, population)
    layout, rounds = Layout(scenario), scenario.training.rounds
    check_network(scenario, layout)
    check_data(scenario, layout, population)
    simulation = Simulation.of(scenario, population, engine, layout, output.record)
    played: PlayedRound | None = None
    stopped: str | None = None
    while progress.state.round < rounds and not (played is not None and played.diverged):
        stopped = budget_reached(simulation, progress.state)
        if stopped is not None:
            output.tables.sync()
            write_checkpoint(output.checkpoints, progress.state, layout, scenario.hash, output.keep)
            break
        played = play_round(simulation, progress.state)
        output.observe(played)
        row = record_round(output.tables, played, population)
        progress.state = played.state
        round = played.state.round
        if round % scenario.checkpoint_every == 0 or round == rounds or round in output.keep or played.diverged:
            output.tables.sync()
            write_checkpoint(output.checkpoints, played.state, layout, scenario.hash, output.keep)
        watch(_report(played, rounds, row["train_loss"], row["train_accuracy"]))
    return Finish(progress.state, played is not None and played.diverged, stopped)


def budget_reached(simulation: Simulation, state: GlobalState) -> str | None:
    """A sentence, where the round after ``state`` would take a client beyond its privacy budget."""
    clients = simulation.population.info.trainable
    ledger = ledger_of(simulation.scenario, clients)
    if ledger is None or ledger.budget is None:
        return None
    plan = plan_round(simulation.scenario, simulation.population, simulation.sampler, simulation.clock, state).plan
    spent, _ = spend(simulation.scenario, plan, state.memory, clients)
    if spent is None or spent.largest <= ledger.budget:
        return None
    return (
        f"the privacy budget of ε {ledger.budget:g} ends the run after round {state.round}: round {state.round + 1} "
        f"would take a client to ε {spent.largest:.4g}"
    )


def _report(played: PlayedRound, rounds: int, loss: float | None, accuracy: float | None) -> RoundReport:
    return RoundReport(
        played.state.round,
        rounds,
        played.seconds,
        played.plan.reporting,
        loss,
        accuracy,
        played.attacked,
        played.evaluated,
        played.diverged,
        None if played.timed is None else played.timed.round_s,
        played.privacy,
    )
