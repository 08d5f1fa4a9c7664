"""Attacks whose factor is optimised by rehearsing the rule in place."""

import pytest
import torch

from raysplit.aggregation.rules.adaptive_robust_clipping import AdaptiveRobustClipping
from raysplit.aggregation.rules.bulyan import Bulyan
from raysplit.aggregation.rules.composed import Composed
from raysplit.aggregation.rules.divide_and_conquer import DivideAndConquer
from raysplit.aggregation.rules.fltrust import FLTrust
from raysplit.aggregation.rules.geometric_median import GeometricMedian
from raysplit.aggregation.rules.krum import Krum
from raysplit.aggregation.rules.mean import Mean
from raysplit.aggregation.rules.median import Median
from raysplit.aggregation.rules.multi_krum import MultiKrum
from raysplit.aggregation.rules.nearest_neighbour_mixing import NearestNeighbourMixing
from raysplit.aggregation.rules.norm_clipping import NormClipping
from raysplit.aggregation.rules.trimmed_mean import TrimmedMean
from raysplit.aggregation.update_attack import UpdateAttack
from raysplit.attacks.updates.ipm import InnerProductManipulation
from raysplit.attacks.updates.lie import LittleIsEnough
from raysplit.attacks.updates.line_search import line_search
from raysplit.attacks.updates.optimal_ipm import OptimalInnerProductManipulation
from raysplit.attacks.updates.optimal_lie import OptimalLittleIsEnough
from raysplit.errors import ScenarioError
from tests.attacks.updates.cohorts import aggregate, attacked, gaussian, view_of

TARGETS = [
    TrimmedMean(),
    Median(),
    GeometricMedian(),
    MultiKrum(),
    DivideAndConquer(),
    NormClipping(noise=0.1),
    Composed((NearestNeighbourMixing(), AdaptiveRobustClipping()), Median()),
]


@pytest.mark.parametrize("rule", TARGETS, ids=repr)
@pytest.mark.parametrize("attack", [OptimalLittleIsEnough(), OptimalInnerProductManipulation()], ids=repr)
@pytest.mark.parametrize("seed", range(2))
def test_beats_no_attack_and_any_factor_it_has_tried(attack, rule, seed):
    updates = gaussian(23, 200, seed=seed)
    before, view = updates.clone(), view_of(updates, 5, rule)
    truth = updates[5:].mean(0)
    poison = attack.poison(view)
    assert isinstance(attack, UpdateAttack) and torch.equal(updates, before)
    assert torch.equal(poison.rows, attack.poison(view_of(updates, 5, rule)).rows)
    damage = float((attacked(rule, updates, poison) - truth).norm())
    if isinstance(rule, DivideAndConquer) and isinstance(attack, OptimalInnerProductManipulation):
        return  # whatever the factor, clones of -εμ are what this rule drops
    assert damage > float((aggregate(rule, updates, 5) - truth).norm())
    if isinstance(rule, NormClipping):
        return  # the server's noise is not the rehearsal's
    assert damage == pytest.approx(poison.record["objective"])
    fixed = LittleIsEnough if isinstance(attack, OptimalLittleIsEnough) else InnerProductManipulation
    for factor in (0.1, 10.0):  # the search has tried these, or what lies at them
        other = fixed(**{"z" if fixed is LittleIsEnough else "epsilon": factor}).poison(view)
        if factor == 10.0:
            assert damage >= float((attacked(rule, updates, other) - truth).norm()) - 1e-9


def test_the_search_doubles_while_it_gains_and_then_shrinks():
    probes = []

    def loss(x):
        probes.append(x)
        return -abs(x - 37.0)

    best, most = line_search(loss, 0.0, 10.0, 0.8, 7)
    assert probes == pytest.approx([0, 10, 30, 70, 30 + 32, 30 + 25.6, 30 + 20.48])
    assert (best, most) == (30.0, -7.0)
    probes.clear()
    best, _ = line_search(loss, 0.0, 10.0, 0.8, 60)
    assert best == pytest.approx(30 + 32 * 0.8**4) and len(probes) == 60  # it cannot step back


def test_partial_knowledge_rehearses_on_its_own_updates():
    updates = gaussian(30, 100)
    for attack in (OptimalLittleIsEnough(knowledge="partial"), OptimalInnerProductManipulation(knowledge="partial")):
        for rule in (TrimmedMean(), Median(), FLTrust(), Mean()):
            view = view_of(updates, 10, rule, "partial")
            poison = attack.poison(view)
            assert attack.threat_model.knowledge == "partial" and poison.rows.isfinite().all()
            mean, std = updates[:10].mean(0), updates[:10].std(0)
            expected = mean - poison.record["gamma"] * std
            if isinstance(attack, OptimalInnerProductManipulation):
                expected = -poison.record["gamma"] * mean
            torch.testing.assert_close(poison.rows[0], expected)
        assert (attacked(Mean(), updates, poison) - updates[10:].mean(0)).norm() > 1


def test_a_rule_that_cannot_take_the_cohort_is_named():
    with pytest.raises(ScenarioError, match=r"Bulyan cannot be simulated on the 4 updates .* in round 1: Bulyan needs"):
        OptimalLittleIsEnough(knowledge="partial").poison(view_of(gaussian(20, 5), 3, Bulyan(), "partial"))
    with pytest.raises(ScenarioError, match="no benign client"):
        OptimalLittleIsEnough().poison(view_of(gaussian(3, 5), 3, Krum()))
    for attack in (OptimalLittleIsEnough, OptimalInnerProductManipulation):
        for bad in ({"evaluations": 0}, {"step": 0.0}, {"ratio": 1.0}, {"start_round": 0}):
            with pytest.raises(ScenarioError):
                attack(**bad)
