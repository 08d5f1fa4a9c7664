"""Who waits for whom: from what a protocol carries over rounds to a round's cohort and plan, and back.

A synchronous protocol (the default) carries nothing and everything here leaves its round as it is.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from raysplit.optimizers import State
from raysplit.population.cohort import Drawn, draw
from raysplit.protocols import buffered, loss_drop
from raysplit.protocols.as_published import published
from raysplit.protocols.plan import Outcome, RoundPlan
from raysplit.protocols.protocol import TrainingProtocol, pace_of
from raysplit.scenario import Scenario
from raysplit.state import GlobalState

Carried = dict[str, torch.Tensor]


def draw_round(scenario: Scenario, round: int, ranks: np.ndarray, carried: Carried) -> Drawn:
    """Who takes part in a round."""
    if pace_of(scenario.protocol) == "buffered":
        return buffered.refilled(scenario.cohort, scenario.seed, round, ranks, carried)
    return draw(scenario.cohort, scenario.seed, round, ranks)


def paced(scenario: Scenario, plan: RoundPlan, carried: Carried) -> RoundPlan:
    """The plan with what each client does of its work in this round."""
    if pace_of(scenario.protocol) == "loss_drop":
        return loss_drop.with_state(plan, carried)
    if isinstance(scenario.protocol, buffered.BufferedSplitFed):
        return buffered.scheduled(scenario.protocol, plan, carried)
    return plan


def parked_in(plan: RoundPlan, carried: Carried) -> tuple[dict[int, torch.Tensor], dict[int, State]]:
    """Portions and optimiser states by client id, of clients whose turn goes on."""
    return buffered.parked(plan, carried)


def arrived(plan: RoundPlan, drawn: Drawn, outcome: Outcome) -> tuple[RoundPlan, Drawn, Outcome]:
    """The round as the fed server sees it: with those clients alone whose portions have come."""
    here = [position for position in range(len(plan.clients)) if plan.finishes(position)]
    if len(here) == len(plan.clients):
        return plan, drawn, outcome
    rows = {index: outcome.client_rows[position] for index, position in enumerate(here) if plan.rows}
    seen = dataclasses.replace(plan, clients=plan.clients[here], samples=plan.samples[here], weights=plan.weights[here])
    mine = Drawn(drawn.clients[here], drawn.malicious[here])
    return seen, mine, dataclasses.replace(outcome, client_rows=rows)


def spread(plan: RoundPlan, norms: np.ndarray | None) -> np.ndarray | None:
    """Norms of the updates that came, [arrived] → a value a client of the plan, NaN where none came."""
    if norms is None or len(norms) == len(plan.clients):
        return norms
    everybody = np.full(len(plan.clients), np.nan)
    everybody[[position for position in range(len(plan.clients)) if plan.finishes(position)]] = norms
    return everybody


def replicas_stay(protocol: TrainingProtocol) -> bool:
    """Whether server replicas outlive a round."""
    return protocol.server == "replicas" and published(protocol).replicas_meet == "all_collected"


def carry(scenario: Scenario, plan: RoundPlan, outcome: Outcome, before: GlobalState) -> Carried:
    """What the next round must know."""
    if pace_of(scenario.protocol) == "loss_drop":
        return loss_drop.next_state(getattr(scenario.protocol, "threshold"), plan, outcome, before.carried)  # noqa: B009
    if isinstance(scenario.protocol, buffered.BufferedSplitFed):
        return buffered.under_way(scenario.protocol, plan, outcome, before.carried, before.client)
    return outcome.carried
