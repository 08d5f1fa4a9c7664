"""Who waits for whom: from what a protocol carries over rounds to a round's cohort and plan, and back.

A synchronous protocol (the default) carries nothing and everything here leaves its round as it is.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from raysplit.population.selection.cohort import Participation, ParticipationSampler, SampledCohort
from raysplit.protocols import buffered, loss_drop
from raysplit.protocols.plan import Outcome, RoundPlan
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.scenario.scenario import Scenario
from raysplit.simulation.state import GlobalState
from raysplit.training.optimizers import State

ProtocolState = dict[str, torch.Tensor]


def participation_in(
    scenario: Scenario, sampler: ParticipationSampler, round: int, protocol_state: ProtocolState
) -> Participation:
    """Who takes part in a round."""
    if scenario.protocol.synchrony != "buffered":
        return sampler.of(round)
    sampled = buffered.refilled(scenario.cohort, scenario.seed, round, sampler.ranks, protocol_state)
    nobody = sampled.where(np.zeros(len(sampled.clients), dtype=bool))
    return Participation(sampled, nobody, nobody)


def scheduled_plan(scenario: Scenario, plan: RoundPlan, protocol_state: ProtocolState) -> RoundPlan:
    """The plan with what each client does of its work in this round."""
    if scenario.protocol.synchrony == "loss_drop":
        return loss_drop.with_state(plan, protocol_state)
    if isinstance(scenario.protocol, buffered.BufferedSplitFed):
        return buffered.scheduled(scenario.protocol, plan, protocol_state)
    return plan


def in_flight_in(plan: RoundPlan, protocol_state: ProtocolState) -> tuple[dict[int, torch.Tensor], dict[int, State]]:
    """Portions and optimiser states by client id, of clients whose turn goes on."""
    return buffered.in_flight(plan, protocol_state)


def arrived(plan: RoundPlan, sampled: SampledCohort, outcome: Outcome) -> tuple[RoundPlan, SampledCohort, Outcome]:
    """The round as the fed server sees it: with those clients alone whose portions have come. ``sampled``: those that
    report."""
    seen, mine, here = expected(plan, sampled)
    if seen is plan:
        return plan, sampled, outcome
    rows = {index: outcome.client_rows[position] for index, position in enumerate(here) if outcome.client_rows}
    return seen, mine, dataclasses.replace(outcome, client_rows=rows)


def expected(plan: RoundPlan, sampled: SampledCohort) -> tuple[RoundPlan, SampledCohort, list[int]]:
    """The round with those clients alone whose portions will come, and their positions."""
    here = _finished(plan)
    if len(here) == plan.reporting:
        return plan, sampled, here
    seen = dataclasses.replace(
        plan, clients=plan.clients[here], samples=plan.samples[here], weights=plan.weights[here], lost=0
    )
    return seen, SampledCohort(sampled.clients[here], sampled.malicious[here]), here


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
    return protocol.server == "replicas" and protocol.published.replicas_meet == "all_collected"


def next_protocol_state(scenario: Scenario, plan: RoundPlan, outcome: Outcome, before: GlobalState) -> ProtocolState:
    """What the next round must know: after one that was passed over, what this one knew."""
    if not len(plan.clients):
        return before.protocol_state
    if scenario.protocol.synchrony == "loss_drop":
        threshold = scenario.protocol.threshold
        assert threshold is not None, "scenarios check this"
        return loss_drop.next_state(threshold, plan, outcome, before.protocol_state)
    if isinstance(scenario.protocol, buffered.BufferedSplitFed):
        return buffered.under_way(scenario.protocol, plan, outcome, before.protocol_state, before.client)
    return outcome.protocol_state
