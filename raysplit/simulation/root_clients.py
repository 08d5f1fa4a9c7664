"""Root clients: clients of the operator's whose clean update some aggregation rules compare others with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from raysplit.aggregation.fed_server import sum_groups
from raysplit.channels.channel import Channel
from raysplit.engine.engine import Engine
from raysplit.memory.global_state import GlobalState
from raysplit.memory.memory import PORTION, SERVER_OPTIMIZER, client_path
from raysplit.population.population import Population
from raysplit.population.selection.cohort import Participation, SampledCohort
from raysplit.protocols.outcome import Outcome
from raysplit.protocols.plan import RoundPlan
from raysplit.scenario.scenario import Scenario
from raysplit.simulation.aggregation import rule_on
from raysplit.simulation.planning import make_plan


def train_root_clients(
    scenario: Scenario, population: Population, engine: Engine, state: GlobalState, plan: RoundPlan
) -> dict[Channel, torch.Tensor]:
    """What each rule's root clients make of the round's start, client portion or server replica [d], where it asks for
    some.

    They train beside the cohort, honestly, with fresh optimisers and against a server portion that is then thrown away,
    as are portions of their own; they are in no table. A root client may also be sampled into the cohort, and be
    malicious there.
    """
    trained: dict[tuple[int, ...], Outcome] = {}
    portions: dict[Channel, torch.Tensor] = {}
    for channel in (Channel.UPDATES, Channel.SERVER_UPDATES):
        gathered = plan.server_rows if channel is Channel.SERVER_UPDATES else plan.rows and not plan.frozen
        roots = rule_on(scenario, channel, plan.round).roots if gathered and len(plan.clients) else ()
        if not roots:
            continue
        if roots not in trained:
            begin = replace(state, memory=_memory_for(roots, state))
            trained[roots] = engine.train(_plan(scenario, population, plan.round, roots), begin)
        outcome = trained[roots]
        sums = outcome.server_sums if channel is Channel.SERVER_UPDATES else outcome.client_sums
        portions[channel] = sum_groups(sums)
    return portions


def _plan(scenario: Scenario, population: Population, round: int, roots: tuple[int, ...]) -> RoundPlan:
    clients = np.array(roots, dtype=np.int64)
    everybody = SampledCohort(clients, np.zeros(len(clients), dtype=bool))
    nobody = everybody.where(everybody.malicious)
    plan = make_plan(scenario, population, round, Participation(everybody, nobody, nobody))
    return replace(plan, rows=False, server_rows=False, detects=False)


def _memory_for(roots: tuple[int, ...], state: GlobalState) -> dict[str, dict[str, torch.Tensor]]:
    """The server optimiser's state and portions of their own: no kept optimisers, and no detector watches them."""
    paths = {SERVER_OPTIMIZER, *(client_path(client, PORTION) for client in roots)}
    return {path: kept for path, kept in state.memory.items() if path in paths}
