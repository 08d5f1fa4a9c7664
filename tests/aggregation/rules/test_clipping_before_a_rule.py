import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raysplit.aggregation.rules.adaptive_robust_clipping import AdaptiveRobustClipping
from raysplit.aggregation.rules.clipping import Clipping
from raysplit.aggregation.rules.composed import Composed, PreAggregation
from raysplit.aggregation.rules.mean import Mean
from raysplit.aggregation.rules.norm_clipping import NormClipping
from raysplit.aggregation.rules.trimmed_mean import TrimmedMean
from raysplit.errors import ScenarioError
from tests.attacks.updates.cohorts import aggregate, context, gaussian

matrices = st.tuples(st.integers(3, 13), st.integers(1, 6), st.integers(0, 10_000)).map(
    lambda shape: gaussian(shape[0], shape[1], seed=shape[2])
)
small = settings(max_examples=40, deadline=None)


def mixed(step, updates, f=0, assumed=None):
    n = updates.shape[0]
    return step.mix(updates, torch.full((n,), 1 / n, dtype=updates.dtype), context(n, f, assumed))


@given(updates=matrices, f=st.integers(0, 6))
@small
def test_the_longest_rows_are_cut_to_the_next_norm(updates, f):
    n = updates.shape[0]
    if 2 * f >= n:
        with pytest.raises(ScenarioError, match=f"needs at least {2 * f + 1}"):
            mixed(AdaptiveRobustClipping(), updates, f)
        return
    before = updates.clone()
    result = mixed(AdaptiveRobustClipping(), updates, f)
    order = sorted(range(n), key=lambda i: -float(updates[i].norm()))
    k = (2 * f * (n - f)) // n
    bound = updates[order[k]].norm()
    for place, i in enumerate(order):
        expected = updates[i] * (bound / updates[i].norm()) if place < k else updates[i]
        torch.testing.assert_close(result.updates[i], expected)
        assert place < k or torch.equal(result.updates[i], updates[i])
    assert torch.equal(updates, before)
    assert result.record == {"bound": pytest.approx(float(bound)), "clipped": k, "broken": 0}


@given(updates=matrices, bound=st.sampled_from(["median", 0.5, 2.0, 1e3]))
@small
def test_clipping_then_the_mean_is_norm_clipping(updates, bound):
    composed = aggregate(Composed((Clipping(bound),), Mean()), updates, 0)
    torch.testing.assert_close(composed, aggregate(NormClipping(bound), updates, 0))


@pytest.mark.parametrize("step", [AdaptiveRobustClipping(), Clipping(), Clipping(2.0)], ids=repr)
def test_contract(step):
    updates = gaussian(11, 23, dtype=torch.float32)
    result = mixed(step, updates, 2)
    assert isinstance(step, PreAggregation) and not step.columnwise
    assert result.updates.dtype is torch.float32 and torch.equal(result.members, torch.eye(11, dtype=torch.bool))
    order = torch.randperm(11, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(mixed(step, updates[order], 2).updates, result.updates[order])


def test_scaled_updates_scale_what_adapts_to_them():
    updates = gaussian(11, 23)
    for step in (AdaptiveRobustClipping(), Clipping()):
        torch.testing.assert_close(mixed(step, 7 * updates, 3).updates, 7 * mixed(step, updates, 3).updates)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e30])
def test_rows_that_are_not_finite_become_zero_and_huge_ones_are_clipped(value):
    updates = gaussian(11, 23, dtype=torch.float32)
    updates[:2] = value
    for step in (AdaptiveRobustClipping(), Clipping()):
        result = mixed(step, updates, 2)
        length = result.record["bound"] if value == 1e30 else 0.0
        torch.testing.assert_close(result.updates[:2].norm(dim=1).double(), torch.full((2,), length).double())
        assert result.updates.isfinite().all()


@pytest.mark.parametrize("seed", range(3))
def test_adaptive_clipping_helps_the_mean_against_long_rows(seed):
    updates = gaussian(25, 60, seed=seed)
    updates[:5] = -100 * updates[5:].mean(0)
    honest = updates[5:].mean(0)
    error = (aggregate(Composed((AdaptiveRobustClipping(),), Mean()), updates, 5) - honest).norm()
    assert error < 0.05 * (aggregate(Mean(), updates, 5) - honest).norm()
    both = (aggregate(Composed((AdaptiveRobustClipping(),), TrimmedMean()), updates, 5) - honest).norm()
    assert both < error


def test_which_count_is_believed_and_bad_parameters():
    updates = gaussian(20, 5)
    for malicious, k in [("actual", 2 * 4 * 16 // 20), ("assumed", 2 * 2 * 18 // 20), (3, 2 * 3 * 17 // 20)]:
        record = mixed(AdaptiveRobustClipping(malicious), updates, 4, assumed=2).record
        assert record["clipped"] == k and record["broken"] == (malicious != "actual")
    weights = torch.full((20,), 0.05)
    for step, rule, broken in [
        (AdaptiveRobustClipping(1), TrimmedMean(), 1),
        (AdaptiveRobustClipping(), TrimmedMean(f=1), 1),
        (AdaptiveRobustClipping(), TrimmedMean(), 0),
    ]:
        assert Composed((step,), rule).aggregate(updates, weights, context(20, 4)).record["broken"] == broken
    for make in (lambda: AdaptiveRobustClipping(-1), lambda: Clipping(0.0), lambda: Clipping("mean")):
        with pytest.raises(ScenarioError):
            make()
