"""Steps 1 and 2 of a round: who takes part, and the plan that all parties agree on.

Both depend on the scenario, the round and the memory alone, never on where the round is played.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from raysplit.aggregation.rules.secure_aggregation import SecureAggregation
from raysplit.aggregation.update_attack import UpdateAttack
from raysplit.attacks.data.data_attack import DataAttack
from raysplit.attacks.data.poisoning import data_attacks_in
from raysplit.attacks.scheduled import attacks_in_force
from raysplit.channels.channel import Channel
from raysplit.costs.clock import Clock, Late
from raysplit.errors import PopulationError, ScenarioError
from raysplit.memory.global_state import GlobalState
from raysplit.population.population import Population
from raysplit.population.selection.cohort import Participation, ParticipationSampler
from raysplit.protocols.as_published import portion_weights
from raysplit.protocols.masked_sizes import MaskedSizes
from raysplit.protocols.plan import RoundPlan, cut_groups
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.protocols.split_steps import handover_order
from raysplit.scenario.scenario import Scenario
from raysplit.simulation.aggregation import alike, gathers_rows

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class PlannedRound:
    """``plan``: of those who take part. ``late``: who missed the round in virtual time, None: nobody."""

    plan: RoundPlan
    participation: Participation
    late: Late | None = None


def plan_round(
    scenario: Scenario, population: Population, sampler: ParticipationSampler, clock: Clock | None, state: GlobalState
) -> PlannedRound:
    """The round after ``state``. ``clock``: of imagined devices, None: there are none. Raises ``PopulationError`` where
    a sampled client has no data."""
    protocol, round = scenario.protocol, state.round + 1
    participation = _of_kind(
        protocol, "participation", protocol.participation(sampler, round, state.memory), Participation
    )
    plan = make_plan(scenario, population, round, participation, sampler.ranks)
    late = None if clock is None or not len(plan.clients) else clock.late(plan)
    if late is not None:
        participation = late.without(participation)
        plan = make_plan(scenario, population, round, participation, sampler.ranks)
    plan = _of_kind(protocol, "plan", protocol.plan(plan, state.memory), RoundPlan)
    if plan.local_rounds is not None:  # data are poisoned when batches are drawn, which was in an earlier round
        began = {int(client): plan.batch_round(position) for position, client in enumerate(plan.clients)}
        plan = replace(plan, malicious=malicious_in(scenario, round, participation, sampler.ranks, began))
    return PlannedRound(plan, participation, late)


def _of_kind(protocol: TrainingProtocol, method: str, answer: Answer, kind: type[Answer]) -> Answer:
    """A protocol's ``answer``; raises ``ScenarioError`` where it is of another kind."""
    if not isinstance(answer, kind):
        raise ScenarioError(
            f"{type(protocol).__name__}.{method}() must return a {kind.__name__}, but it returned "
            f"{type(answer).__name__}"
        )
    return answer


def make_plan(
    scenario: Scenario,
    population: Population,
    round: int,
    participation: Participation,
    ranks: np.ndarray | None = None,
) -> RoundPlan:
    """What every party must agree on for this round; depends on the scenario and the round alone.

    ``ranks``: in which order clients become malicious; None: nobody is.
    """
    training = scenario.training
    sampled, lost = participation.reporting, len(participation.lost.clients)
    clients = np.concatenate([sampled.clients, participation.lost.clients])
    samples = population.train_sizes(clients)
    if not samples.all():
        raise PopulationError(
            f"client {int(clients[samples == 0][0])} of population {population.info.name!r} has no training samples "
            f"but was drawn in round {round}; leave such clients out when the population is prepared"
        )
    if scenario.protocol.client_sync == "one_party" and len(clients):
        clients, samples = np.zeros(1, dtype=np.int64), samples.sum(keepdims=True)
    steps = np.array([training.batching.steps(int(n)) for n in samples], dtype=np.int64)
    meet_at_server = scenario.protocol.server == "replicas" and not scenario.protocol.replicas_outlive_rounds
    return RoundPlan(
        round=round,
        seed=scenario.seed,
        clients=clients,
        cohort=sampled.clients,
        samples=samples.astype(np.int64),
        steps=steps * training.local_epochs,
        weights=_weights(scenario, round, samples, lost),
        groups=cut_groups(samples, scenario.group_count),
        rows=scenario.protocol.client_sync == "personal" or gathers_rows(scenario, round, sampled),
        client_lr=training.client_lr_at(round),
        server_lr=training.server_lr_at(round),
        client_state=scenario.client_state,
        server_state=scenario.server_state,
        batching=training.batching,
        lost=lost,
        malicious={} if ranks is None else malicious_in(scenario, round, participation, ranks),
        detects=scenario.detection is not None,
        server_rows=meet_at_server and gathers_rows(scenario, round, sampled, Channel.SERVER_UPDATES),
        masked=masked_sizes(scenario),
    )


def masked_sizes(scenario: Scenario) -> MaskedSizes | None:
    """None: updates travel as they are."""
    rule = scenario.defense
    return MaskedSizes(rule.bits) if isinstance(rule, SecureAggregation) else None


def malicious_in(
    scenario: Scenario,
    round: int,
    participation: Participation,
    ranks: np.ndarray,
    began: Mapping[int, int] = MappingProxyType({}),
) -> dict[int, int]:
    """The malicious clients that train in a round, where an attack on their data or messages is in force: id → rank
    among the malicious.

    ``began``: client id → the round in which it drew its batches, where that need not be this one: data are poisoned
    then.
    """
    acting = [
        attack
        for attack in attacks_in_force(scenario.attack, round)
        if not isinstance(attack, UpdateAttack | DataAttack) and attack.threat_model.party == "clients"
    ]
    training = [
        int(client) for some in (participation.reporting, participation.lost) for client in some.clients[some.malicious]
    ]
    return {
        client: int(ranks[client])
        for client in training
        if acting or data_attacks_in(scenario.attack, began.get(client, round))
    }


def _weights(scenario: Scenario, round: int, samples: np.ndarray, lost: int) -> np.ndarray:
    """With which weights client portions are summed, float64 [n]: 0 for the last ``lost`` clients."""
    counted = samples.astype(np.float64)
    if alike(scenario):
        counted = np.ones(len(samples))
    counted[len(samples) - lost :] = 0
    weighting = scenario.protocol.published.weighting
    if weighting == "samples":
        return portion_weights(weighting, counted, -1)
    last = int(handover_order(scenario.protocol, scenario.seed, round, len(samples))[-1])
    return portion_weights(weighting, counted, last)
