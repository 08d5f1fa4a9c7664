"""A rule that starts late: the mean before, bit for bit, and then the rule with all that it asks for."""

import numpy as np
import pytest
import torch

from raysplit.aggregation.rule import RoundContext
from raysplit.aggregation.rules.centred_clipping import CentredClipping
from raysplit.aggregation.rules.fltrust import FLTrust
from raysplit.aggregation.rules.mean import Mean
from raysplit.aggregation.rules.median import Median
from raysplit.aggregation.rules.start_at_round import StartAtRound
from raysplit.aggregation.rules.trimmed_mean import TrimmedMean
from raysplit.attacks.updates.sign_flip import SignFlip
from raysplit.errors import ScenarioError
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.splitfed_v2 import SplitFedV2
from tests.toys import play, toy


def scenario(protocol, rounds=4, **changes):
    cohort = Cohort(size=5, malicious=0.4, of="cohort")
    return toy(protocol, clients=9, cohort=cohort, training__rounds=rounds, **changes)


RULES = [Median(), TrimmedMean(), FLTrust(roots=(3,)), CentredClipping(bound=0.002, start="previous")]


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV2()], ids=lambda p: type(p).__name__)
def test_the_mean_acts_before_and_the_rule_after(protocol, rule):
    late = StartAtRound(rule, start_round=3)
    before = play(scenario(protocol, 2))
    assert (
        play(scenario(protocol, 2).replace(**{"training.rounds": 4}), start=before.state).digest
        == play(scenario(protocol)).digest
    )
    by_hand = play(scenario(protocol, defense=rule, attack=SignFlip(start_round=3)), start=before.state)
    deferred = play(scenario(protocol, defense=late, attack=SignFlip(start_round=3)))
    assert deferred.digest == by_hand.digest  # FLTrust's root and the clipping's memory too begin with round 3
    assert deferred.digest != play(scenario(protocol, defense=rule, attack=SignFlip(start_round=3))).digest
    assert deferred.digest != play(scenario(protocol, attack=SignFlip(start_round=3))).digest
    names = deferred.tables["aggregation"].column("rule").to_pylist()
    assert names == ["Mean", "Mean", type(rule).__name__, type(rule).__name__]
    assert (
        deferred.state.memory.get("fed/rule/updates", {}).keys()
        == by_hand.state.memory.get("fed/rule/updates", {}).keys()
    )


def test_called_by_itself_it_goes_by_the_round():
    updates, weights = torch.randn(5, 7, generator=torch.Generator().manual_seed(1)), torch.full((5,), 0.2)
    rule = StartAtRound(Median(), start_round=3)
    for round, same in ((2, Mean()), (3, Median()), (4, Median())):
        context = RoundContext(round, np.arange(5), 1, 1, np.random.default_rng(0))
        assert torch.equal(
            rule.aggregate(updates, weights, context).update, same.aggregate(updates, weights, context).update
        )
    assert (
        rule.columnwise
        and not StartAtRound(FLTrust(roots=(2,)), 3).columnwise
        and StartAtRound(FLTrust(roots=(2,)), 3).roots == (2,)
    )


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ScenarioError, match=r"StartAtRound.start_round must be at least 1"):
        StartAtRound(Median(), start_round=0)
    with pytest.raises(ScenarioError, match="itself StartAtRound"):
        StartAtRound(StartAtRound(Median(), 3), 5)
    with pytest.raises(ScenarioError, match="StartAtRound starts in round 9, but training ends after round 4"):
        scenario(FedAvg(), defense=StartAtRound(Median(), start_round=9))
    with pytest.raises(
        ScenarioError,
        match="StartAtRound\\(TrimmedMean\\) needs at least 7 updates against 3 malicious clients, but a cohort of 5",
    ):
        scenario(FedAvg(), defense=StartAtRound(TrimmedMean(f=3), start_round=2))
