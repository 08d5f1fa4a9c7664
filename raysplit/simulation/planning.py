"""What a round asks for: the cohort's plan, from the scenario and the round alone."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from raysplit.aggregation.fed_server import gathers_rows
from raysplit.aggregation.update_attack import UpdateAttack
from raysplit.attacks.data.data_attack import DataAttack
from raysplit.attacks.data.poisoning import data_attacks_in
from raysplit.attacks.scheduled import attacks_in_force
from raysplit.channels.channel import Channel
from raysplit.errors import PopulationError
from raysplit.population.population import Population
from raysplit.population.selection.cohort import Participation
from raysplit.protocols.as_published import portion_weights
from raysplit.protocols.plan import RoundPlan, cut_groups
from raysplit.protocols.split_steps import handover_order, steps_per_epoch
from raysplit.scenario.scenario import Scenario
from raysplit.simulation.synchrony import replicas_stay


def make_plan(
    scenario: Scenario,
    population: Population,
    round: int,
    participation: Participation,
    ranks: np.ndarray | None = None,
) -> RoundPlan:
    """What every party must agree on for this round; depends on the scenario and the round alone.

    ``ranks``: in which order clients turn malicious; None: nobody lies.
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
    steps = np.array([steps_per_epoch(int(n), training.batch_size) for n in samples], dtype=np.int64)
    meet_at_server = scenario.protocol.server == "replicas" and not replicas_stay(scenario.protocol)
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
        batch_size=training.batch_size,
        lost=lost,
        malicious={} if ranks is None else malicious_in(scenario, round, participation, ranks),
        server_rows=meet_at_server and gathers_rows(scenario, round, sampled, Channel.SERVER_UPDATES),
    )


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
    counted[len(samples) - lost :] = 0
    weighting = scenario.protocol.published.weighting
    if weighting == "samples":
        return portion_weights(weighting, counted, -1)
    last = int(handover_order(scenario.protocol, scenario.seed, round, len(samples))[-1])
    return portion_weights(weighting, counted, last)
