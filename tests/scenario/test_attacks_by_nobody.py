"""An attack that nobody carries out is refused before training: its results would be those of no attack."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from raysplit import (
    AgrTailored,
    CompositeAttack,
    Dropouts,
    LabelFlip,
    PixelBackdoor,
    Poisson,
    Scheduled,
    ServerTampering,
    SignFlip,
    SmashedNoise,
    grid,
)
from raysplit.errors import ScenarioError
from raysplit.parts.part import part
from raysplit.population.selection.cohort import Cohort, draw, malicious_ranks
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.scenario.malicious_check import check_malicious
from raysplit.scenario.scenario import Scenario
from tests.toys import toy

ATTACKS = [
    AgrTailored(),
    SignFlip(),
    LabelFlip(),
    PixelBackdoor(target=0),
    SmashedNoise(),
    Scheduled(LabelFlip(), start_round=2),
    CompositeAttack((LabelFlip(), SignFlip())),
]
SINGLE = LabelFlip()
SEED = 42


def experiment(attack=SINGLE, clients=40, rounds=2, **cohort) -> Scenario:
    scenario = toy(SplitFedV2(), clients=clients, cohort=Cohort(**cohort), attack=attack, training__rounds=rounds)
    check_malicious(scenario, scenario.population.open())
    return scenario


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_a_share_of_a_cohort_that_rounds_to_nobody_is_refused_when_the_scenario_is_built(attack):
    with pytest.raises(
        ScenarioError, match=r" needs malicious clients, but Cohort\.malicious=0\.1 of a cohort of 4 is no"
    ):
        toy(SplitFedV2(), cohort=Cohort(4, malicious=0.1, of="cohort"), attack=attack)
    toy(SplitFedV2(), cohort=Cohort(4, malicious=0.2, of="cohort"), attack=attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_a_share_of_a_population_that_rounds_to_nobody_is_refused_before_training(attack):
    with pytest.raises(
        ScenarioError, match=r"Cohort\.malicious=0\.009 of the 40 clients of 'toys' is nobody; give a share"
    ):
        experiment(attack, size=40, malicious=0.009)
    experiment(attack, size=40, malicious=0.03)


def test_malicious_clients_of_whom_none_is_ever_sampled_are_nobody_too():
    with pytest.raises(ScenarioError, match=r"^LabelFlip would be carried out by nobody: in none of the 1 rounds does"):
        experiment(rounds=1, size=1, malicious=0.03)
    experiment(rounds=200, size=4, malicious=0.03)


def test_a_single_shot_in_a_round_without_malicious_clients_is_carried_out_by_nobody():
    there = [bool(sampled(round)) for round in range(1, 41)]
    without, with_them = there.index(False) + 1, there.index(True) + 1
    experiment(Scheduled(SINGLE, start_round=with_them), rounds=40, size=8, malicious=0.05)
    with pytest.raises(ScenarioError, match=r"^LabelFlip would be carried out by nobody: in none of the 40 rounds"):
        experiment(Scheduled(SINGLE, start_round=without), rounds=40, size=8, malicious=0.05)
    with pytest.raises(ScenarioError, match=r"^SignFlip would be carried out by nobody"):
        both = CompositeAttack((SINGLE, Scheduled(SignFlip(), start_round=without)))
        experiment(both, rounds=40, size=8, malicious=0.05)


def sampled(round: int) -> bool:
    return draw(Cohort(8, 0.05), SEED, round, malicious_ranks(SEED, 40)).malicious.any()


@part
class Away:
    """Whoever would become malicious first is never there."""

    def presence(self, clients):
        return lambda round: malicious_ranks(SEED, clients) > 0


def test_malicious_clients_that_are_never_available_are_nobody():
    with pytest.raises(ScenarioError, match="would be carried out by nobody"):
        experiment(size=39, malicious=0.025, available=Away())


def test_updates_that_are_always_lost_poison_nothing_but_their_clients_messages_do():
    @dataclass(frozen=True)
    class MaliciousFail(Dropouts):
        def fail(self, seed, round, clients):
            return malicious_ranks(seed, 40)[clients] < 1

    lost = {"size": 40, "malicious": 0.025, "dropouts": MaliciousFail(0.1, when="after")}
    experiment(SmashedNoise(), **lost)
    with pytest.raises(ScenarioError, match=r"^SignFlip would be carried out by nobody"):
        experiment(SignFlip(), **lost)


def test_no_attack_needs_nobody_and_a_malicious_server_no_client():
    experiment(None, size=4)
    experiment(ServerTampering(), size=4)
    experiment(CompositeAttack((ServerTampering(), LabelFlip())), size=4, malicious=0.25)
    experiment(None, size=4, malicious=0.01, of="cohort")
    experiment(None, size=4, malicious=0.001)


def test_the_clean_baseline_of_a_grid_stands_beside_its_attacks():
    base = toy(SplitFedV2(), cohort=Cohort(4, malicious=0.0))
    grid(base, attack={"clean": None})
    assert len(grid(base, cohort={"none": Cohort(4), "some": Cohort(4, 0.25, "cohort")})) == 2
    assert len(grid(base.replace(cohort=Cohort(4, 0.25)), attack=[None, SINGLE], cohort__malicious=[0.25, 0.5])) == 4


def test_a_cohort_of_random_size_may_hold_somebody():
    toy(SplitFedV2(), cohort=Cohort(4, 0.1, "cohort", draw=Poisson()), clients=12, attack=SINGLE)
