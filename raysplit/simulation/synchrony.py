"""Who waits for whom: from what a protocol carries over rounds to a round's cohort and plan, and back.

A synchronous protocol (the default) carries nothing and everything here leaves its round as it is.
"""

from __future__ import annotations

import numpy as np

from raysplit.memory.global_state import GlobalState
from raysplit.memory.memory import Memory
from raysplit.population.selection.cohort import Participation, ParticipationSampler
from raysplit.protocols import buffered, loss_drop
from raysplit.protocols.as_published import published
from raysplit.protocols.outcome import Outcome
from raysplit.protocols.plan import RoundPlan
from raysplit.protocols.protocol import TrainingProtocol, synchrony_of
from raysplit.scenario.scenario import Scenario


def participation_in(scenario: Scenario, sampler: ParticipationSampler, round: int, memory: Memory) -> Participation:
    """Who takes part in a round."""
    if synchrony_of(scenario.protocol) != "buffered":
        return sampler.of(round)
    sampled = buffered.refilled(scenario.cohort, scenario.seed, round, sampler.ranks, memory)
    nobody = sampled.where(np.zeros(len(sampled.clients), dtype=bool))
    return Participation(sampled, nobody, nobody)


def scheduled_plan(scenario: Scenario, plan: RoundPlan, memory: Memory) -> RoundPlan:
    """The plan with what each client does of its work in this round."""
    if synchrony_of(scenario.protocol) == "loss_drop":
        return loss_drop.with_state(plan, memory)
    if isinstance(scenario.protocol, buffered.BufferedSplitFed):
        return buffered.scheduled(scenario.protocol, plan, memory)
    return plan


def replicas_stay(protocol: TrainingProtocol) -> bool:
    """Whether server replicas outlive a round."""
    return protocol.server == "replicas" and published(protocol).replicas_meet == "all_collected"


def after(scenario: Scenario, plan: RoundPlan, outcome: Outcome, before: GlobalState) -> Memory:
    """What changes in the protocol's own memory by a round in which somebody trained."""
    if synchrony_of(scenario.protocol) == "loss_drop":
        return loss_drop.next_state(getattr(scenario.protocol, "threshold"), plan, outcome, before.memory)  # noqa: B009
    if isinstance(scenario.protocol, buffered.BufferedSplitFed):
        memory = {**before.memory, **outcome.memory}
        return buffered.under_way(scenario.protocol, plan, memory, before.client)
    return {}
