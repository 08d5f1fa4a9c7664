"""What holds a rule to its contract: it derives from it, misspells nothing, and every answer has a default."""

import pytest
import torch

from raysplit import CRFL, Composed, FLTrust, FoolsGold, Krum, Mean, Median, NearestNeighbourMixing, StartAtRound, part
from raysplit.aggregation.rule import Aggregate, AggregationRule
from raysplit.aggregation.rules.composed import PreAggregation
from raysplit.analysis.matrix.parts import named_in
from raysplit.errors import ScenarioError
from raysplit.protocols.fedavg import FedAvg
from tests.toys import toy


@part
class Plain(AggregationRule):
    def aggregate(self, updates, weights, context):
        return Aggregate(weights @ updates)


def test_a_rule_that_gives_aggregate_alone_answers_all_else_by_default():
    rule = Plain()
    assert not rule.columnwise and not rule.remembers_clients and not rule.takes_partial_sums and rule.f is None
    assert rule.roots == () and rule.parts() == () and rule.least_clients(3) == 1 and rule.start_round == 1
    assert rule.in_force(1) is rule and rule.trim_count(9, 1, 1) is None
    assert "Plain has no over()" in str(rule.needs_whole_updates())
    assert rule(torch.ones(2, 3)).equal(torch.ones(3))


def test_a_wrapper_answers_as_its_parts_do():
    rule = CRFL(1.0, Composed((NearestNeighbourMixing(),), FLTrust((3, 5))))
    assert rule.roots == (3, 5) and rule.needs_whole_updates() is None
    assert StartAtRound(Composed((), FoolsGold()), 4).remembers_clients
    assert "FoolsGold remembers" in str(StartAtRound(CRFL(1.0, FoolsGold()), 4).needs_whole_updates())
    late = StartAtRound(Median(), 4)
    assert late.start_round == 4 and late.in_force(3) == Mean() and late.in_force(4) == Median()
    assert late.in_force(3).takes_partial_sums and not late.takes_partial_sums


def test_every_rule_of_the_tree_derives_from_the_contract():
    for cls in named_in("aggregation.rules").values():
        assert issubclass(cls, AggregationRule | PreAggregation), cls


def test_an_answer_that_is_misspelt_is_an_error():
    with pytest.raises(ScenarioError, match=r"declares 'colunmwise'.* did you mean 'columnwise'"):

        @part
        class Typo(AggregationRule):
            colunmwise = True

            def aggregate(self, updates, weights, context):
                raise NotImplementedError


def test_a_rule_without_aggregate_is_an_error():
    with pytest.raises(ScenarioError, match="does not answer 'aggregate'"):

        @part
        class Empty(AggregationRule):
            pass


def test_a_cohort_that_is_too_small_is_refused_when_the_scenario_is_built():
    few = {"clients": 9, "cohort__size": 6, "cohort__malicious": 0.34}
    for rule in (Krum(), StartAtRound(Krum(), 2), Composed((NearestNeighbourMixing(),), Krum())):
        with pytest.raises(
            ScenarioError, match="needs at least 7 updates against 2 malicious clients, but a cohort of 6"
        ):
            toy(FedAvg(), **few, defense=rule)
    assert toy(FedAvg(), **few, defense=Krum(f=1))
