"""Who waits for whom: from what a protocol carries over rounds to a round's cohort and plan, and back.

A synchronous protocol (the default) carries nothing and everything here leaves its round as it is.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from raysplit.optimizers import State
from raysplit.population.cohort import Drawn, Turnout, Turnouts
from raysplit.protocols import buffered, loss_drop
from raysplit.protocols.as_published import published
from raysplit.protocols.plan import Outcome, RoundPlan
from raysplit.protocols.protocol import TrainingProtocol, pace_of
from raysplit.scenario import Scenario
from raysplit.state import GlobalState

Carried = dict[str, torch.Tensor]


def turnout_of(scenario: Scenario, turnouts: Turnouts, round: int, carried: Carried) -> Turnout:
    """Who takes part in a round."""
    if pace_of(scenario.protocol) != "buffered":
        return turnouts.of(round)
    drawn = buffered.refilled(scenario.cohort, scenario.seed, round, turnouts.ranks, carried)
    nobody = drawn.where(np.zeros(len(drawn.clients), dtype=bool))
    return Turnout(drawn, nobody, nobody)


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
    """The round as the fed server sees it: with those clients alone whose portions have come. ``drawn``: those that report."""
    seen, mine, here = expected(plan, drawn)
    if seen is plan:
        return plan, drawn, outcome
    rows = {index: outcome.client_rows[position] for index, position in enumerate(here) if outcome.client_rows}
    return seen, mine, dataclasses.replace(outcome, client_rows=rows)


def expected(plan: RoundPlan, drawn: Drawn) -> tuple[RoundPlan, Drawn, list[int]]:
    """The round with those clients alone whose portions will come, and their positions."""
    here = _finished(plan)
    if len(here) == plan.reporting:
        return plan, drawn, here
    seen = dataclasses.replace(
        plan, clients=plan.clients[here], samples=plan.samples[here], weights=plan.weights[here], lost=0
    )
    return seen, Drawn(drawn.clients[here], drawn.malicious[here]), here


def spread(plan: RoundPlan, norms: np.ndarray | None) -> np.ndarray | None:
    """Norms of the updates that came, [arrived] → a value a client that reports, NaN where none came yet."""
    if norms is None or len(norms) == plan.reporting:
        return norms
    everybody = np.full(plan.reporting, np.nan)
    everybody[_finished(plan)] = norms
    return everybody


def _finished(plan: RoundPlan) -> list[int]:
    """Positions of those who report, and report in this round."""
    return [position for position in range(plan.reporting) if plan.finishes(position)]


def replicas_stay(protocol: TrainingProtocol) -> bool:
    """Whether server replicas outlive a round."""
    return protocol.server == "replicas" and published(protocol).replicas_meet == "all_collected"


def carry(scenario: Scenario, plan: RoundPlan, outcome: Outcome, before: GlobalState) -> Carried:
    """What the next round must know: after one that was passed over, what this one knew."""
    if not len(plan.clients):
        return before.carried
    if pace_of(scenario.protocol) == "loss_drop":
        return loss_drop.next_state(getattr(scenario.protocol, "threshold"), plan, outcome, before.carried)  # noqa: B009
    if isinstance(scenario.protocol, buffered.BufferedSplitFed):
        return buffered.under_way(scenario.protocol, plan, outcome, before.carried, before.client)
    return outcome.carried
