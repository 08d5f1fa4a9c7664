"""What DnC, FLTrust, FoolsGold, SignGuard, FLAME, CRFL and ARC claim, on synthetic updates: their symmetries, and the
attacks they stop."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raysplit.aggregation.rule import AggregationRule
from raysplit.aggregation.rules.adaptive_robust_clipping import AdaptiveRobustClipping
from raysplit.aggregation.rules.clipping import Clipping
from raysplit.aggregation.rules.composed import Composed
from raysplit.aggregation.rules.crfl import CRFL
from raysplit.aggregation.rules.divide_and_conquer import DivideAndConquer
from raysplit.aggregation.rules.flame import FLAME
from raysplit.aggregation.rules.fltrust import FLTrust
from raysplit.aggregation.rules.fools_gold import FoolsGold
from raysplit.aggregation.rules.mean import Mean
from raysplit.aggregation.rules.median import Median
from raysplit.aggregation.rules.sign_guard import SignGuard
from raysplit.aggregation.rules.trimmed_mean import TrimmedMean
from raysplit.attacks.updates.agr_tailored import AgrTailored
from raysplit.attacks.updates.gaussian import GaussianNoise
from raysplit.attacks.updates.ipm import InnerProductManipulation
from raysplit.attacks.updates.lie import LittleIsEnough
from raysplit.attacks.updates.min_max import MinMax
from raysplit.attacks.updates.model_replacement import ModelReplacement
from raysplit.attacks.updates.sign_flip import SignFlip
from raysplit.parts.canonical import to_json
from tests.attacks.updates.cohorts import context, gaussian, view_of

ARC = Composed((AdaptiveRobustClipping(),), Mean())
RULES = [
    ARC,
    Composed((Clipping(),), Median()),
    Composed((AdaptiveRobustClipping(),), DivideAndConquer()),
    DivideAndConquer(),
    DivideAndConquer(columns=7, iterations=3),
    FLTrust(),
    FoolsGold(),
    SignGuard(),
    SignGuard(share=1.0),
    FLAME(noise=0.0),
    FLAME(),
    CRFL(bound=1.0),
    CRFL(bound=1e6, noise=0.0, rule=TrimmedMean()),
]
SAME_COLUMNS = [rule for rule in RULES if rule not in (DivideAndConquer(columns=7, iterations=3), SignGuard())]
small = settings(max_examples=25, deadline=None)


def told(updates, m, round=1):
    """A context with everything: the reference is the mean of three clean updates, the model is small."""
    n, d = updates.shape
    reference = updates[-3:].mean(0)
    portion = torch.linspace(-0.1, 0.1, d, dtype=updates.dtype)
    return replace(context(n, m), round=round, reference=reference, portion=portion)


def run(rule, updates, m=0, asked=None):
    n = updates.shape[0]
    weights = torch.full((n,), 1 / n, dtype=updates.dtype)
    return rule.aggregate(updates, weights, asked or told(updates, m))


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_contract(rule, dtype):
    updates = gaussian(11, 23, dtype=dtype)
    before, asked = updates.clone(), told(updates, 2)
    result = run(rule, updates, asked=replace(asked, rng=context(11, 2).rng))
    assert isinstance(rule, AggregationRule) and isinstance(to_json(rule), dict) and not rule.columnwise
    assert result.update.shape == (23,) and result.update.dtype is dtype and result.update.isfinite().all()
    assert torch.equal(updates, before) and not asked.memory
    assert all(type(value) is float for value in result.record.values())
    assert result.selected is None or (result.selected.dtype is torch.bool and result.selected.shape == (11,))
    assert torch.equal(run(rule, updates, 2).update, result.update)
    result.update.zero_()
    assert torch.equal(updates, before)


@pytest.mark.parametrize("rule", RULES, ids=repr)
@given(n=st.integers(5, 11), d=st.integers(8, 12), seed=st.integers(0, 1000))
@small
def test_the_order_of_clients_does_not_matter(rule, n, d, seed):
    updates = gaussian(n, d, seed)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    asked = told(updates, 1)
    one = run(rule, updates, asked=asked)
    other = run(rule, updates[order], asked=replace(told(updates, 1), clients=asked.clients[order.numpy()]))
    torch.testing.assert_close(other.update, one.update, rtol=1e-7, atol=1e-9)
    if one.selected is not None:
        assert torch.equal(other.selected, one.selected[order])


@pytest.mark.parametrize("rule", [rule for rule in RULES if not isinstance(rule, CRFL)], ids=repr)
def test_a_larger_unit_gives_a_larger_result(rule):
    updates = gaussian(11, 23)
    torch.testing.assert_close(run(rule, 16 * updates, 2).update, 16 * run(rule, updates, 2).update)


def test_only_dnc_is_at_home_anywhere():
    updates, shift = gaussian(11, 23), 100 * gaussian(1, 23, seed=9)[0]
    dnc = run(DivideAndConquer(), updates + shift, 2)
    torch.testing.assert_close(dnc.update - shift, run(DivideAndConquer(), updates, 2).update)
    for rule in (ARC, FLAME(noise=0.0), SignGuard(), FLTrust()):
        assert not torch.allclose(run(rule, updates + shift, 2).update - shift, run(rule, updates, 2).update, atol=1e-6)


@pytest.mark.parametrize("rule", SAME_COLUMNS, ids=repr)
def test_equal_updates_give_that_update(rule):
    row = gaussian(1, 23)[0]
    if isinstance(rule, FoolsGold) or (isinstance(rule, CRFL) and rule.noise):
        return  # FoolsGold takes them for one sybil (test_trusting_rules.py); CRFL adds noise and clips
    result = run(rule, row.expand(9, -1), 2).update
    tolerance = 4 * 0.001 * float(row.norm()) if isinstance(rule, FLAME) and rule.noise else 1e-12
    torch.testing.assert_close(result, row, rtol=0, atol=tolerance)


@pytest.mark.parametrize("rule", [rule for rule in RULES if not isinstance(rule, CRFL)], ids=repr)
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_rows_that_are_not_finite_do_no_harm(rule, value):
    updates = gaussian(19, 50, dtype=torch.float32)
    updates[:4] = value
    result = run(rule, updates, 4)
    assert result.update.isfinite().all()
    assert (result.update - updates[4:].mean(0)).norm() < 2 * updates[4:].norm(dim=1).max()
    if result.selected is not None:
        assert not result.selected[:4].any() or isinstance(rule, Composed)


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_float32_over_several_blocks_of_columns_is_float64(rule):
    updates = gaussian(12, 20_011, dtype=torch.float32)
    one, other = run(rule, updates, 2), run(rule, updates.double(), 2)
    torch.testing.assert_close(one.update.double(), other.update, rtol=1e-4, atol=1e-5)
    if one.selected is not None:
        assert torch.equal(one.selected, other.selected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_device_agrees(rule):
    updates = gaussian(12, 20_011, dtype=torch.float32)
    one, other = run(rule, updates, 2), run(rule, updates.cuda(), 2)
    assert other.update.is_cuda
    torch.testing.assert_close(other.update.cpu(), one.update, rtol=1e-4, atol=1e-5)


CLAIMS = [
    (ARC, SignFlip(scale=20.0)),
    (ARC, GaussianNoise(std=50.0)),
    (ARC, ModelReplacement(SignFlip())),
    (DivideAndConquer(), AgrTailored(gamma=10.0)),
    (DivideAndConquer(), MinMax()),
    (DivideAndConquer(), ModelReplacement(SignFlip())),
    (DivideAndConquer(iterations=3, columns=100), LittleIsEnough(z=1.0)),
    (FLTrust(), SignFlip()),
    (FLTrust(), InnerProductManipulation(epsilon=5.0)),
    (FLTrust(), ModelReplacement(SignFlip())),
    (FoolsGold(), InnerProductManipulation(epsilon=5.0)),
    (FoolsGold(), AgrTailored(gamma=10.0)),
    (SignGuard(share=1.0), SignFlip(scale=2.0)),  # a tenth of 400 columns is too few to tell signs apart
    (SignGuard(share=1.0), InnerProductManipulation(epsilon=1.0)),
    (FLAME(), SignFlip()),
    (FLAME(), ModelReplacement(InnerProductManipulation(epsilon=1.0))),
    (CRFL(bound=30.0, noise=0.01), ModelReplacement(SignFlip(scale=10.0))),
]


@pytest.mark.parametrize(("rule", "attack"), CLAIMS, ids=repr)
@pytest.mark.parametrize("seed", range(3))
def test_each_rule_stops_what_it_claims_to_stop(rule, attack, seed):
    """Bias against the benign mean, against that of the plain mean; benign updates pull one way, each with much of its
    own."""
    updates = gaussian(30, 400, seed=seed)
    updates += 0.5  # so that signs say something
    attack_view = view_of(updates, 6, rule, attack.threat_model.knowledge)
    poisoned = torch.cat([attack.poison(attack_view).rows, updates[6:]])
    honest = updates[6:].mean(0)
    error = (run(rule, poisoned, 6).update - honest).norm()
    assert error < 0.75 * (run(Mean(), poisoned, 6).update - honest).norm()


@pytest.mark.parametrize("rule", [DivideAndConquer(), FLAME(noise=0.0), SignGuard(), FLTrust()], ids=repr)
@pytest.mark.parametrize("seed", range(3))
def test_without_an_attack_they_stay_near_the_mean(rule, seed):
    updates = gaussian(30, 400, seed=seed) + 0.5
    honest = updates.mean(0)
    assert (run(rule, updates, 0).update - honest).norm() < 0.5 * honest.norm()
