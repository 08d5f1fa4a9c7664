"""How far one split step moves the server portion, ‖ΔW_S‖, with honest clients and with a ``GanAttack`` of several ε.

    raysplit run scenarios/pasquini2021/figure12.py --only small-mnist-sgd-1 --engine local --keep-state
    raysplit run scenarios/pasquini2021/figure12.py --only small-mnist-sgd-clean --engine local --keep-state
    python tools/server_drift.py runs/small-mnist-sgd-1-HASH --clean runs/small-mnist-sgd-clean-HASH

plays the round after the run's last once for every ``--epsilon`` (and no other: runs stay as they are) and prints, as
a row of the tables in docs/papers/pasquini2021.md, the mean of ‖ΔW_S‖ over the honest steps, the malicious client's
poisoning steps and its adversarial ones. With ``--clean``, a run of the same scenario without the attack, also how far
the whole run has moved the portion (``raysplit.portion_drift``).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

import raysplit
from raysplit import GanAttack
from raysplit.analysis.inference.target import gan_of
from raysplit.attacks.steps.step_attack import kept_as
from raysplit.engine.local import LocalEngine
from raysplit.errors import RunError, UserError
from raysplit.memory.global_state import GlobalState
from raysplit.memory.memory import by_client
from raysplit.population.opening import open_population
from raysplit.scenario.layout import Layout
from raysplit.scenario.scenario import Scenario
from raysplit.simulation.round import Simulation, play_round
from raysplit.storage.checkpoints import newest_checkpoint, read_checkpoint
from raysplit.storage.run_folder import RunFolder
from raysplit.storage.stored_scenario import stored_scenario
from raysplit.threads import one_thread
from raysplit.training.optimizers import Gradients
from raysplit.training.parties import ServerSlot

Kind = Literal["honest", "poisoning", "adversarial"]


@dataclass(frozen=True)
class Moved:
    """One step of the server portion, of a client's split step. ``distance``: ‖ΔW_S‖ over parameters."""

    client: int
    distance: float


@contextmanager
def recorded() -> Iterator[list[Moved]]:
    """The steps that server portions take in this process meanwhile, in their order."""
    noted: list[Moved] = []
    plain = ServerSlot.step

    def step(self: ServerSlot, gradients: Gradients | None = None) -> None:
        parameters = self.flat.vector[: self.flat.parameters]
        before = parameters.clone()
        plain(self, gradients)
        noted.append(Moved(self.key[2], float((parameters - before).double().norm())))

    ServerSlot.step = step  # type: ignore[method-assign]
    try:
        yield noted
    finally:
        ServerSlot.step = plain  # type: ignore[method-assign]


def kinds(moved: Sequence[Moved], attack: GanAttack, before: GlobalState, malicious: frozenset[int]) -> list[Kind]:
    """What each step was: by the malicious client's own count of iterations, which goes on from the state before."""
    learned = by_client(before.memory, kept_as(attack))
    counts = {client: int(learned[client]["iteration"]) if client in learned else 0 for client in malicious}
    found: list[Kind] = []
    for one in moved:
        if one.client not in malicious:
            found.append("honest")
            continue
        counts[one.client] += 1
        count = before.round + 1 if attack.turns == "rounds" else counts[one.client]
        poisons = attack.poison != "never" and count % 2 == (0 if attack.poison == "even" else 1)
        found.append("poisoning" if poisons else "adversarial")
    return found


@one_thread()
def next_round(scenario: Scenario, state: GlobalState, epsilon: float) -> dict[Kind, list[float]]:
    """‖ΔW_S‖ of every step of the round after ``state``, by kind, with ``epsilon`` in place of the attack's."""
    attack = gan_of(scenario)
    if attack is None or scenario.attack != attack:
        raise RunError(f"{scenario.name} is to have a GanAttack and no other attack, whose epsilon can be set")
    with_epsilon = replace(attack, epsilon=epsilon)
    changed = scenario.replace(
        attack=with_epsilon, observe=None, training=replace(scenario.training, rounds=state.round + 1)
    )
    population = open_population(changed.population)
    with recorded() as moved, LocalEngine(changed) as engine:
        played = play_round(Simulation.of(changed, population, engine, Layout(changed)), state)
    malicious = frozenset(played.plan.malicious)
    found: dict[Kind, list[float]] = {}
    for one, kind in zip(moved, kinds(moved, with_epsilon, state, malicious), strict=True):
        found.setdefault(kind, []).append(one.distance)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="How far one split step moves the server portion.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--clean", type=Path, help="the same scenario's run without the attack")
    parser.add_argument("--epsilon", type=float, nargs="+", default=[1.0, 0.1, 1e-3, 1e-5])
    chosen = parser.parse_args(arguments)
    folder = RunFolder(chosen.run)
    scenario, _ = stored_scenario(folder)
    checkpoint = newest_checkpoint(folder.checkpoints)
    if checkpoint is None:
        raise RunError(f"{chosen.run} has no checkpoint yet; let it run on")
    state = read_checkpoint(checkpoint, Layout(scenario), scenario.hash)
    print(f"{scenario.name}, round {state.round + 1}, mean of the server portion's ‖ΔW_S‖ over a round's split steps")
    print("| ε | honest | poisoning | adversarial | steps of each |")
    print("|--:|--:|--:|--:|--:|")
    for epsilon in chosen.epsilon:
        found = next_round(scenario, state, epsilon)
        cells = [found.get(kind, []) for kind in ("honest", "poisoning", "adversarial")]
        means = " | ".join(f"{statistics.fmean(cell):.2g}" if cell else "–" for cell in cells)
        print(f"| {epsilon:g} | {means} | {', '.join(str(len(cell)) for cell in cells)} |", flush=True)
    if chosen.clean is not None:
        drift = raysplit.portion_drift(raysplit.open_run(chosen.run), raysplit.open_run(chosen.clean))["server"]
        print(
            f"after round {state.round}: ‖W − W_clean‖ {drift.from_clean:.2f}, ‖W − W_0‖ {drift.from_start:.2f}, "
            f"‖W_clean − W_0‖ {drift.clean_from_start:.2f}"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        main()
    except UserError as error:
        raise SystemExit(f"server_drift: {error}") from error
