import numpy as np
import pytest
import torch

from raysplit.aggregation.rule import AggregationRule
from raysplit.aggregation.rules.mean import Mean
from raysplit.aggregation.rules.median import Median
from raysplit.aggregation.rules.trimmed_mean import TrimmedMean
from raysplit.errors import ScenarioError
from tests.attacks.updates.cohorts import aggregate, context, gaussian

RULES = [Mean(), TrimmedMean(), TrimmedMean(f="assumed"), TrimmedMean(f=3), Median(), Median(even="midpoint")]


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_contract(rule, dtype):
    updates = gaussian(11, 23, dtype=dtype)
    before = updates.clone()
    result = rule.aggregate(updates, torch.full((11,), 1 / 11, dtype=dtype), context(11, 2))
    assert isinstance(rule, AggregationRule) and rule.columnwise
    assert result.update.shape == (23,) and result.update.dtype is dtype and result.selected is None
    assert torch.equal(updates, before)
    order = torch.randperm(11, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(aggregate(rule, updates[order], 2), result.update)  # permutation of clients
    shift = torch.randn(23, dtype=dtype)
    torch.testing.assert_close(aggregate(rule, updates + shift, 2), result.update + shift, rtol=1e-5, atol=1e-5)


def test_mean_weighs_and_adds_in_row_order():
    updates = gaussian(5, 9, dtype=torch.float32)
    weights = torch.tensor([0.5, 0.1, 0.2, 0.05, 0.15])
    expected = sum(float(w) * u.double() for w, u in zip(weights, updates, strict=True))
    torch.testing.assert_close(
        Mean().aggregate(updates, weights, context(5, 0)).update.double(), expected, rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("k", [0, 1, 2, 4])
def test_trimmed_mean_is_the_textbook_one(k):
    updates = gaussian(9, 40)
    expected = np.sort(updates.numpy(), axis=0)[k : 9 - k].mean(axis=0)
    np.testing.assert_allclose(aggregate(TrimmedMean(f=k), updates, 1).numpy(), expected, rtol=1e-12)


def test_trimming_nothing_is_the_mean_and_all_but_one_the_median():
    updates = gaussian(9, 40)
    torch.testing.assert_close(aggregate(TrimmedMean(f=0), updates, 0), aggregate(Mean(), updates, 0))
    assert torch.equal(aggregate(TrimmedMean(f=4), updates, 0), aggregate(Median(), updates, 0))


def test_medians_of_an_even_number():
    updates = gaussian(8, 40, dtype=torch.float32)
    assert torch.equal(aggregate(Median(), updates, 0), updates.median(0).values)
    np.testing.assert_allclose(aggregate(Median(even="midpoint"), updates, 0), np.median(updates, axis=0), rtol=1e-6)
    odd = updates[:7]
    assert torch.equal(aggregate(Median(even="midpoint"), odd, 0), aggregate(Median(), odd, 0))


def test_which_count_is_trimmed_and_when_that_is_too_few():
    updates, weights = gaussian(10, 3), torch.full((10,), 0.1)
    for rule, trim, broken in [
        (TrimmedMean(), 3, 0),
        (TrimmedMean(f="assumed"), 2, 1),
        (TrimmedMean(f=4), 4, 0),
        (TrimmedMean(f=1), 1, 1),
    ]:
        record = rule.aggregate(updates, weights, context(10, actual=3, assumed=2)).record
        assert (record["trim"], record["broken"]) == (trim, broken)
    assert Median().aggregate(updates, weights, context(10, 5)).record["broken"] == 1
    assert Median().aggregate(updates, weights, context(10, 4)).record["broken"] == 0


def test_bad_parameters_get_one_sentence():
    with pytest.raises(ScenarioError, match=r"TrimmedMean\.f must be at least 0"):
        TrimmedMean(f=-1)
    with pytest.raises(ScenarioError, match=r"at most 4"):
        aggregate(TrimmedMean(f=5), gaussian(10, 2), 0)
    with pytest.raises(ScenarioError):
        TrimmedMean(f="oracle")
    with pytest.raises(ScenarioError):
        Median(even="upper")


@pytest.mark.parametrize("rule", [TrimmedMean(), Median(), Median(even="midpoint")], ids=repr)
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 1e30])
def test_a_minority_cannot_leave_the_benign_range(rule, value):
    updates = gaussian(11, 50, dtype=torch.float32)
    updates[:5] = value
    result = aggregate(rule, updates, 5)
    assert (result >= updates[5:].amin(0)).all() and (result <= updates[5:].amax(0)).all()
