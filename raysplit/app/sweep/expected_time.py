"""How long scenarios may take, before any of them trains: by the rounds of their own that there are already, else by a
split step of each network that is timed here.

An estimate and no promise: what attacks, rules and the start of an engine take is left out where a step was timed, and
machines do other things too.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

from raysplit.analysis.cuts.cuts import first_batch, first_plan, time_step
from raysplit.app.running.engine_choice import EngineChoice
from raysplit.errors import UserError
from raysplit.models.network import stage_names
from raysplit.population.opening import open_population
from raysplit.scenario.scenario import Scenario
from raysplit.simulation.evaluation import evaluation_clients
from raysplit.storage.run_folder import RunFolder
from raysplit.storage.tables import read_table

FORWARD = 1 / 3
"""What a forward pass takes of a training step: the backward pass of a layer is two products where this is one."""
REPEATS = 2


@dataclass
class Clock:
    """Seconds a round on ``choice``; each kind of scenario is timed once. ``cpus``: of this machine."""

    choice: EngineChoice
    cpus: int = field(default_factory=lambda: os.cpu_count() or 1)
    _known: dict[str, float | None] = field(default_factory=dict)

    def heard(self, runs: Iterable[tuple[Scenario, RunFolder]]) -> None:
        """Take over what rounds took in runs on the same kind of engine."""
        found: dict[str, list[float]] = {}
        for scenario, folder in runs:
            found.setdefault(_kind(scenario), []).extend(self._rounds(folder))
        self._known.update({kind: statistics.fmean(seconds) for kind, seconds in found.items() if seconds})

    def round_s(self, scenario: Scenario) -> float | None:
        """None where nothing was recorded and nothing could be timed."""
        kind = _kind(scenario)
        if kind not in self._known:
            self._known[kind] = self._timed(scenario)
        return self._known[kind]

    def _rounds(self, folder: RunFolder) -> list[float]:
        try:
            if folder.state().get("engine", {}).get("engine") != self.choice.engine:
                return []
            durations = read_table(folder.metrics / "rounds.arrow").column("wall_s").to_pylist()
        except (UserError, OSError, ValueError):
            return []
        return [float(duration) for duration in durations[1:]]  # the first round warms up

    def _timed(self, scenario: Scenario) -> float | None:
        if scenario.protocol.topology.kind != "pair":
            return None
        population = open_population(scenario.population)
        plan = first_plan(scenario, population)
        x, y = first_batch(scenario, population, plan)
        cut = scenario.model.cut or stage_names(scenario.model)[0]
        client, server = (part / len(y) for part in time_step(scenario.replace(**{"model.cut": cut}), x, y, REPEATS))
        trained = int(plan.samples.sum()) * scenario.training.local_epochs
        tested = int(population.test_sizes(evaluation_clients(scenario, population.info)).sum())
        tests = tested * FORWARD * (client + server) / scenario.evaluation.every
        hosts = self._hosts(scenario)
        if scenario.protocol.server == "shared" and hosts > 1:  # clients work ahead of the one portion that they share
            return max(trained * client / hosts, trained * server) + tests / hosts
        return (trained * (client + server) + tests) / hosts

    def _hosts(self, scenario: Scenario) -> int:
        one_by_one = scenario.protocol.client_sync in ("one_party", "handover")
        if self.choice.engine == "local" or one_by_one:
            return 1
        return max(1, min(self.choice.hosts or self.cpus, scenario.group_count, self.cpus))


def _kind(scenario: Scenario) -> str:
    """What decides how long a round takes, but for attack and rule."""
    form = scenario.to_json()
    parts = {name: form[name] for name in ("population", "model", "protocol", "training", "cohort", "evaluation")}
    parts["training"] = {name: value for name, value in parts["training"].items() if name != "rounds"}
    parts["cohort"] = {name: value for name, value in parts["cohort"].items() if name != "malicious"}
    return json.dumps(parts, sort_keys=True)
