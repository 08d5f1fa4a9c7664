"""Rules that leave out whole updates: DnC, SignGuard, FLAME."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.rules.divide_and_conquer import DivideAndConquer
from raysplit.aggregation.rules.flame import FLAME, cosine_distances, majority_component
from raysplit.aggregation.rules.mean_shift import largest_cluster
from raysplit.aggregation.rules.sign_guard import SignGuard, sign_counts
from raysplit.errors import ScenarioError
from tests.attacks.updates.cohorts import context, gaussian

matrices = st.tuples(st.integers(3, 13), st.integers(2, 6), st.integers(0, 10_000)).map(
    lambda shape: gaussian(shape[0], shape[1], seed=shape[2])
)
small = settings(max_examples=40, deadline=None)


def run(rule, updates, m=0, assumed=None):
    n = updates.shape[0]
    return rule.aggregate(updates, torch.full((n,), 1 / n, dtype=updates.dtype), context(n, m, assumed))


@given(updates=matrices, f=st.integers(0, 5))
@small
def test_dnc_drops_the_largest_projections_on_the_first_singular_vector(updates, f):
    n = updates.shape[0]
    if f >= n:
        with pytest.raises(ScenarioError, match="leave none"):
            run(DivideAndConquer(), updates, f)
        return
    centred = updates - updates.mean(0)
    v = torch.linalg.svd(centred).Vh[0]
    keep = (centred @ v).square().argsort()[: n - f].sort().values
    result = run(DivideAndConquer(), updates, f)
    assert result.selected.nonzero().flatten().tolist() == keep.tolist()
    torch.testing.assert_close(result.update, updates[keep].mean(0))
    assert result.record == {"f": f, "select": n - f, "kept_by": 1, "broken": 0}


def test_dnc_intersects_over_random_columns():
    updates = gaussian(20, 200)
    updates[:3, 100:] += 9.0  # seen by any set of columns that has enough of the right half
    rule = DivideAndConquer(columns=20, iterations=8)
    result, again = run(rule, updates, 3), run(rule, updates, 3)
    assert torch.equal(result.update, again.update) and torch.equal(result.selected, again.selected)
    assert not result.selected[:3].any() and result.record["kept_by"] == 8
    torch.testing.assert_close(result.update, updates[result.selected].mean(0))
    one = run(DivideAndConquer(columns=20, iterations=1), updates, 3)
    assert one.selected.sum() == 17 and (result.selected <= one.selected).all()  # the first set is the same


def test_dnc_without_an_intersection_takes_the_rows_kept_most_often():
    updates = gaussian(5, 400)
    result = run(DivideAndConquer(columns=4, iterations=30, filter=4.0), updates, 1)  # each set keeps one row of five
    assert 1 <= result.record["kept_by"] < 30 and result.record["select"] == result.selected.sum() >= 1
    assert result.update.isfinite().all()


def test_dnc_filter_and_count():
    updates = gaussian(20, 30)
    assert run(DivideAndConquer(filter=1.5), updates, 3).selected.sum() == 20 - 5
    record = run(DivideAndConquer(f="assumed"), updates, 3, assumed=2).record
    assert (record["f"], record["broken"]) == (2, 1)
    with pytest.raises(ScenarioError, match="would drop 30 of 20"):
        run(DivideAndConquer(filter=10.0), updates, 3)


def by_scipy(distances):
    """FLAME's admission by scipy's single linkage: the first threshold with a cluster of ⌊n/2⌋ + 1 or more."""
    n = len(distances)
    merges = linkage(squareform(distances, checks=False), "single")
    for threshold in sorted(set(merges[:, 2])):
        labels = fcluster(merges, threshold, "distance")
        sizes = np.bincount(labels)
        if sizes.max() >= n // 2 + 1:
            return labels == sizes.argmax()
    raise AssertionError


@given(updates=matrices)
@small
def test_flame_admits_the_majority_component_of_single_linkage(updates):
    distances = cosine_distances(Geometry.of(updates))
    expected = by_scipy(distances.numpy())
    assert majority_component(distances).tolist() == expected.tolist()
    result = run(FLAME(noise=0.0), updates)
    norms = updates.norm(dim=1)
    bound = norms.sort().values[(len(norms) - 1) // 2]
    rows = updates * (bound / norms).clamp_max(1)[:, None]
    assert result.selected.tolist() == expected.tolist()
    torch.testing.assert_close(result.update, rows[result.selected].mean(0))


@given(
    n=st.integers(2, 12),
    seed=st.integers(0, 1000),
)
@small
def test_majority_component_with_ties_is_that_of_scipy(n, seed):
    values = torch.randint(1, 4, (n, n), generator=torch.Generator().manual_seed(seed)).double()
    distances = (values.triu(1) + values.triu(1).T).fill_diagonal_(0)
    assert majority_component(distances).tolist() == by_scipy(distances.numpy()).tolist()


def test_flame_by_models_and_its_noise():
    updates = gaussian(9, 20_000)
    portion = torch.randn(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    distances = cosine_distances(Geometry.of(updates), portion)
    models = torch.nn.functional.normalize(updates + portion, dim=1)
    torch.testing.assert_close(distances, 1 - models @ models.T, atol=1e-12, rtol=0)
    with pytest.raises(ScenarioError, match="global portion"):
        run(FLAME(angles="models"), updates)
    quiet, noisy = run(FLAME(noise=0.0), updates), run(FLAME(noise=0.01), updates)
    expected = 0.01 * quiet.record["bound"]
    assert float((noisy.update - quiet.update).std()) == pytest.approx(expected, rel=0.03)


def test_flame_with_too_few_measurable_rows_stands_still():
    updates = gaussian(6, 10)
    updates[:3] = 0
    result = run(FLAME(), updates)
    assert not result.update.any() and result.record["broken"] == 1 and not result.selected.any()
    lone = run(FLAME(noise=0.0), gaussian(1, 4))
    torch.testing.assert_close(lone.update, gaussian(1, 4)[0])


def test_mean_shift_finds_the_larger_of_two_groups_and_all_of_one():
    generator = torch.Generator().manual_seed(0)
    near = torch.randn(12, 3, generator=generator, dtype=torch.float64) * 0.01
    far = torch.randn(7, 3, generator=generator, dtype=torch.float64) * 0.01 + 1.0
    assert largest_cluster(torch.cat([far, near])).tolist() == [False] * 7 + [True] * 12
    assert largest_cluster(torch.cat([near, far])).tolist() == [True] * 12 + [False] * 7
    assert largest_cluster(near).sum() >= 10
    assert largest_cluster(torch.zeros(5, 3, dtype=torch.float64)).all()
    assert largest_cluster(torch.ones(1, 3, dtype=torch.float64)).all()
    equal = torch.tensor([[0.0], [0.0], [0.0], [1.0]], dtype=torch.float64)
    assert largest_cluster(equal).tolist() == [True, True, True, False]


def test_sign_guard_filters_by_norm_and_by_sign():
    updates = gaussian(20, 2000)
    updates += 1.0  # most values are positive, so flipped rows have other statistics
    updates[0] *= 100
    updates[1] *= 1e-3
    updates[2:5] *= -1
    result = run(SignGuard(), updates, 5)
    assert not result.selected[:5].any() and result.record["in_band"] == 18
    norms = updates.norm(dim=1)
    bound = norms.sort().values[9]
    rows = updates * (bound / norms).clamp_max(1)[:, None]
    torch.testing.assert_close(result.update, rows[result.selected].mean(0))
    assert result.record["bound"] == pytest.approx(float(bound))
    assert result.record["select"] == result.selected.sum() > 10
    rows, chosen = torch.tensor([[1.0, -1.0, 0.0, 2.0, 5.0]]), torch.tensor([True, True, True, True, False])
    assert sign_counts(rows, chosen).tolist() == [[2, 1, 1]]


@pytest.mark.parametrize(
    "make",
    [
        lambda: DivideAndConquer(columns=0),
        lambda: DivideAndConquer(iterations=0),
        lambda: DivideAndConquer(filter=-1.0),
        lambda: DivideAndConquer(f=-1),
        lambda: SignGuard(low=2.0),
        lambda: SignGuard(high=0.5),
        lambda: SignGuard(share=0.0),
        lambda: FLAME(noise=-1.0),
        lambda: FLAME(angles="both"),
    ],
)
def test_bad_parameters(make):
    with pytest.raises(ScenarioError):
        make()
