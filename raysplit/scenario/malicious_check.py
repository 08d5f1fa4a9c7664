"""Whether anybody carries out a scenario's attack: whose results are those of no attack, but look like a defence that
holds, is refused."""

from __future__ import annotations

from raysplit.aggregation.update_attack import UpdateAttack
from raysplit.attacks.attack import Attack, parts_of
from raysplit.errors import ScenarioError
from raysplit.population.population import Population
from raysplit.population.selection.cohort import Participation, ParticipationSampler
from raysplit.scenario.scenario import Scenario


def check_malicious(scenario: Scenario, population: Population) -> None:
    """Raise ``ScenarioError`` where an attack of malicious clients has none, or none that is sampled in any round in
    which it is in force.

    Rounds of asynchronous protocols depend on what happened before; of these only the number of malicious clients is
    looked at. The search ends with the first round that has somebody.
    """
    attacks = [part for part in parts_of(scenario.attack) if _by_clients(part)]
    cohort, info = scenario.cohort, population.info
    if not attacks:
        return
    if cohort.of == "population" and cohort.malicious_in(info.trainable) == 0:
        raise ScenarioError(
            f"{_name(attacks[0])} needs malicious clients, but Cohort.malicious={cohort.malicious:g} of the "
            f"{info.trainable} clients of {info.name!r} is nobody; give a share such as {1 / info.trainable:.2g} or more"
        )
    if scenario.protocol.synchrony != "synchronous":
        return
    sampler = ParticipationSampler(cohort, scenario.seed, population)
    rounds = range(1, scenario.training.rounds + 1)
    for attack in attacks:
        if not any(_acts(attack, round, sampler) for round in rounds):
            raise ScenarioError(
                f"{_name(attack)} would be carried out by nobody: in none of the {len(rounds)} rounds does a malicious "
                f"client of {info.name!r} take part while it is in force; raise Cohort.malicious or Cohort.size, or "
                "move the attack to other rounds"
            )


def _by_clients(attack: Attack) -> bool:
    return any(single.threat_model.party == "clients" for single in attack.singles())


def _name(attack: Attack) -> str:
    return type(next(single for single in attack.singles() if single.threat_model.party == "clients")).__name__


def _acts(attack: Attack, round: int, sampler: ParticipationSampler) -> bool:
    acting = [single for single in attack.in_force(round) if single.threat_model.party == "clients"]
    return bool(acting) and any(_by_somebody(single, sampler.of(round)) for single in acting)


def _by_somebody(single: Attack, participation: Participation) -> bool:
    """Whether a malicious client trains, and for an attack on updates also whether its update arrives."""
    arrives, lost = participation.reporting.malicious.any(), participation.lost.malicious.any()
    return bool(arrives or (lost and not isinstance(single, UpdateAttack)))
