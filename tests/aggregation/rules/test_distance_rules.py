import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raysplit.aggregation.geometry import row_distances
from raysplit.aggregation.rule import AggregationRule
from raysplit.aggregation.rules.bucketing import Bucketing
from raysplit.aggregation.rules.bulyan import Bulyan
from raysplit.aggregation.rules.centred_clipping import CentredClipping
from raysplit.aggregation.rules.composed import Composed, PreAggregation
from raysplit.aggregation.rules.geometric_median import GeometricMedian
from raysplit.aggregation.rules.krum import Krum, krum_scores, neighbour_count
from raysplit.aggregation.rules.mean import Mean
from raysplit.aggregation.rules.mean_around_median import MeanAroundMedian
from raysplit.aggregation.rules.median import Median
from raysplit.aggregation.rules.multi_krum import MultiKrum
from raysplit.aggregation.rules.nearest_neighbour_mixing import NearestNeighbourMixing
from raysplit.aggregation.rules.norm_clipping import NormClipping
from raysplit.aggregation.rules.trimmed_mean import TrimmedMean
from raysplit.attacks.updates.agr_tailored import AgrTailored
from raysplit.attacks.updates.min_max import MinMax
from raysplit.errors import ScenarioError
from raysplit.parts.canonical import to_json
from tests.attacks.updates.cohorts import aggregate, attacked, context, gaussian, view_of

SELECTING = [Krum(), Krum(neighbours="n-f-1"), MultiKrum(), MultiKrum(select=3), Bulyan(), Bulyan(neighbours="n-f-1")]
SHIFTING = [  # AGR(U + a) = AGR(U) + a
    *SELECTING,
    MeanAroundMedian(),
    MeanAroundMedian(even="midpoint"),
    GeometricMedian(),
    GeometricMedian(start="mean"),
    CentredClipping(),
    CentredClipping(bound=2.0, iterations=1),
    Composed((NearestNeighbourMixing(),), TrimmedMean()),
    Composed((NearestNeighbourMixing(), NearestNeighbourMixing()), Median()),
    Composed((), Median()),
]
ANCHORED = [  # they know where zero is
    GeometricMedian(start="zero", iterations=3, nu=0.1),
    CentredClipping(start="zero", bound=1.5),
    NormClipping(),
    NormClipping(bound=1.5),
]
RANDOM = [NormClipping(noise=0.1), Composed((Bucketing(2),), Median()), Composed((Bucketing(1),), MultiKrum())]


def run(rule, updates, m=0, assumed=None):
    n = updates.shape[0]
    return rule.aggregate(updates, torch.full((n,), 1 / n, dtype=updates.dtype), context(n, m, assumed))


def naive_scores(rows, q):
    distances = [[float(((a - b) ** 2).sum()) for b in rows] for a in rows]
    return [sum(sorted(row[:i] + row[i + 1 :])[:q]) for i, row in enumerate(distances)]


def naive_meamed(column, keep):
    ordered = sorted(column)
    median = ordered[(len(ordered) - 1) // 2]
    return sum(sorted(ordered, key=lambda value: (abs(value - median), value))[:keep]) / keep


matrices = st.tuples(st.integers(7, 13), st.integers(1, 6), st.integers(0, 10_000)).map(
    lambda shape: gaussian(shape[0], shape[1], seed=shape[2])
)
small = settings(max_examples=40, deadline=None)


@pytest.mark.parametrize("rule", [*SHIFTING, *ANCHORED, *RANDOM], ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_contract(rule, dtype):
    updates = gaussian(11, 23, dtype=dtype)
    before = updates.clone()
    result = run(rule, updates, 2)
    assert isinstance(rule, AggregationRule) and isinstance(to_json(rule), dict)
    assert result.update.shape == (23,) and result.update.dtype is dtype and result.update.isfinite().all()
    assert torch.equal(updates, before)
    assert all(type(value) is float for value in result.record.values())
    assert result.selected is None or (result.selected.dtype is torch.bool and result.selected.shape == (11,))
    assert torch.equal(run(rule, updates, 2).update, result.update)
    result.update.zero_()
    assert torch.equal(updates, before)  # the result is no view of a row


@pytest.mark.parametrize("rule", [*SHIFTING, *ANCHORED], ids=repr)
@given(updates=matrices, seed=st.integers(0, 1000))
@small
def test_the_order_of_clients_does_not_matter(rule, updates, seed):
    m = 1
    if isinstance(rule, Bulyan):  # with fewer than 3 malicious, two nearest neighbours tie and the first of them wins
        updates, m = gaussian(16, updates.shape[1], seed), 3
    order = torch.randperm(updates.shape[0], generator=torch.Generator().manual_seed(seed))
    one, other = run(rule, updates, m), run(rule, updates[order], m)
    torch.testing.assert_close(other.update, one.update, rtol=1e-9, atol=1e-9)
    if one.selected is not None:
        assert torch.equal(other.selected, one.selected[order])


@pytest.mark.parametrize("rule", SHIFTING, ids=repr)
def test_shifted_updates_shift_the_result_even_far_from_zero(rule):
    updates = gaussian(11, 23)
    shift = 1e6 * torch.randn(23, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(
        aggregate(rule, updates + shift, 2) - shift, aggregate(rule, updates, 2), rtol=0, atol=1e-7
    )


@given(updates=matrices, f=st.integers(0, 2), paper=st.booleans())
@small
def test_krum_and_multi_krum_are_the_naive_ones(updates, f, paper):
    n, name = updates.shape[0], "n-f-2" if paper else "n-f-1"
    scores = naive_scores(updates, n - f - (2 if paper else 1))
    result = run(Krum(name), updates, f)
    best = int(np.argmin(scores))
    assert torch.equal(result.update, updates[best]) and result.selected.nonzero().tolist() == [[best]]
    assert result.record == pytest.approx({"f": f, "score": scores[best], "broken": 0})
    for select in (None, 1, 4):
        m = n - f if select is None else select
        rows = sorted(np.argsort(scores, kind="stable")[:m].tolist())
        result = run(MultiKrum(select, name), updates, f)
        torch.testing.assert_close(result.update, updates[rows].mean(0))
        assert result.selected.nonzero().flatten().tolist() == rows
        assert result.record == {"f": f, "select": m, "broken": 0}


@given(updates=matrices, f=st.integers(0, 2))
@small
def test_bulyan_is_the_naive_one(updates, f):
    n = updates.shape[0]
    if n < 4 * f + 3:
        with pytest.raises(ScenarioError, match=f"at least {4 * f + 3}"):
            run(Bulyan(), updates, f)
        return
    result = run(Bulyan(), updates, f)
    remaining, rows = list(range(n)), result.selected.nonzero().flatten().tolist()
    for _ in range(n - 2 * f):
        scores = naive_scores(updates[remaining], max(1, len(remaining) - f - 2))
        best = min(scores)
        tied = [row for row, score in zip(remaining, scores, strict=True) if np.isclose(score, best, rtol=1e-9)]
        pick = next(row for row in tied if row in rows)  # rounding may decide between mutual neighbours
        remaining.remove(pick)
    assert sorted(set(range(n)) - set(remaining)) == rows
    expected = [naive_meamed(column, n - 4 * f) for column in updates[rows].T.tolist()]
    np.testing.assert_allclose(result.update, expected, rtol=1e-9, atol=1e-12)
    assert result.record == {"f": f, "select": n - 2 * f, "keep": n - 4 * f, "broken": 0}


@given(
    rows=st.integers(1, 9).flatmap(
        lambda n: st.lists(st.lists(st.integers(-4, 4), min_size=3, max_size=3), min_size=n, max_size=n)
    ),
    f=st.integers(0, 4),
)
@small
def test_mean_around_median_is_the_naive_one_ties_included(rows, f):
    updates = torch.tensor(rows, dtype=torch.float64)
    n = len(rows)
    if 2 * f >= n:
        with pytest.raises(ScenarioError, match=f"needs at least {2 * f + 1}"):
            run(MeanAroundMedian(), updates, f)
        return
    expected = [naive_meamed(column, n - f) for column in updates.T.tolist()]
    np.testing.assert_allclose(run(MeanAroundMedian(), updates, f).update, expected, atol=1e-12)
    torch.testing.assert_close(run(MeanAroundMedian(f=0), updates).update, updates.mean(0))


@given(updates=matrices, start=st.sampled_from(["median", "mean", "zero"]), steps=st.integers(1, 6))
@small
def test_geometric_median_is_weiszfeld_on_the_vectors(updates, start, steps):
    n = updates.shape[0]
    weights = torch.rand(n, dtype=torch.float64, generator=torch.Generator().manual_seed(n)) + 0.1
    weights /= weights.sum()
    z = {"median": updates.median(0).values, "mean": weights @ updates, "zero": torch.zeros_like(updates[0])}[start]
    for _ in range(steps):
        before = z
        distances = (updates - z).norm(dim=1)
        beta = weights / distances.clamp_min(0.1)
        z = beta @ updates / beta.sum()
    result = GeometricMedian(steps, 0.1, start).aggregate(updates, weights, context(n, 0))
    torch.testing.assert_close(result.update, z, rtol=1e-8, atol=1e-8)
    expected = {"objective": float(weights @ distances), "step": float((z - before).norm()), "broken": 0}
    assert result.record == pytest.approx(expected, abs=1e-6)


def test_many_steps_reach_the_minimum():
    updates = gaussian(15, 8)
    best = run(GeometricMedian(iterations=200), updates).update
    direction = updates - best
    gradient = (direction / direction.norm(dim=1, keepdim=True)).sum(0)
    assert gradient.norm() < 1e-6


@given(updates=matrices, start=st.sampled_from(["median", "zero"]), bound=st.sampled_from(["median", 0.5, 2.0, 1e3]))
@small
def test_centred_clipping_is_the_loop_on_the_vectors(updates, start, bound):
    v = updates.median(0).values if start == "median" else torch.zeros_like(updates[0])
    for _ in range(3):
        difference = updates - v
        norms = difference.norm(dim=1)
        tau = float(norms.sort().values[(len(norms) - 1) // 2]) if bound == "median" else bound
        v = v + (difference * (tau / norms.clamp_min(1e-300)).clamp_max(1)[:, None]).mean(0)
    result = run(CentredClipping(bound, 3, start), updates)
    torch.testing.assert_close(result.update, v, rtol=1e-8, atol=1e-8)
    assert result.record["bound"] == pytest.approx(tau, rel=1e-6)


@given(updates=matrices, bound=st.sampled_from(["median", 0.5, 2.0, 1e3]))
@small
def test_norm_clipping_is_the_formula(updates, bound):
    n = updates.shape[0]
    weights = torch.arange(1, n + 1, dtype=torch.float64) / (n * (n + 1) / 2)
    norms = updates.norm(dim=1)
    limit = float(norms.sort().values[(n - 1) // 2]) if bound == "median" else bound
    expected = weights @ (updates * (limit / norms).clamp_max(1)[:, None])
    result = NormClipping(bound).aggregate(updates, weights, context(n, 0))
    torch.testing.assert_close(result.update, expected)
    clipped = int((norms > limit).sum())
    # At the median's own row the two ways of taking the norm may differ in the last bit.
    assert result.record["bound"] == pytest.approx(limit) and abs(result.record["clipped"] - clipped) <= 1
    one_step = run(CentredClipping(limit, 1, "zero"), updates).update
    torch.testing.assert_close(one_step, run(NormClipping(limit), updates).update)


def test_noise_comes_from_the_round_and_has_the_asked_deviation():
    updates = gaussian(5, 20_000)
    plain, noisy = run(NormClipping(), updates).update, run(NormClipping(noise=0.3), updates).update
    assert (noisy - plain).std().item() == pytest.approx(0.3, rel=0.03)
    assert torch.equal(noisy, run(NormClipping(noise=0.3), updates).update)


@given(updates=matrices, f=st.integers(0, 3))
@small
def test_nearest_neighbour_mixing_is_the_naive_one(updates, f):
    n = updates.shape[0]
    mixed = NearestNeighbourMixing(f).mix(updates, torch.full((n,), 1 / n), context(n, f))
    for i in range(n):
        rows = (updates - updates[i]).norm(dim=1).argsort()[: n - f]
        torch.testing.assert_close(mixed.updates[i], updates[rows].mean(0))
        assert sorted(rows.tolist()) == mixed.members[i].nonzero().flatten().tolist()
    assert mixed.record == {"mixed_rows": n - f, "broken": 0}


@pytest.mark.parametrize(("n", "size", "count"), [(12, 3, 4), (11, 3, 4), (5, 1, 5), (5, 9, 1)])
def test_bucketing_partitions_and_averages(n, size, count):
    updates, weights = gaussian(n, 6), torch.full((n,), 1 / n, dtype=torch.float64)
    mixed = Bucketing(size).mix(updates, weights, context(n, 3))
    assert mixed.updates.shape == (count, 6) and mixed.members.sum(0).tolist() == [1] * n
    for row, members in zip(mixed.updates, mixed.members, strict=True):
        torch.testing.assert_close(row, updates[members].mean(0))
        assert members.sum() <= size
    assert float(mixed.weights.sum()) == pytest.approx(1) and mixed.context.actual == min(3, count)
    assert len(mixed.context.clients) == count and mixed.record == {"buckets": count}
    torch.testing.assert_close(aggregate(Composed((Bucketing(size),), Mean()), updates, 0), updates.mean(0))


def test_composition_runs_in_order_and_maps_selections_to_clients():
    updates = gaussian(12, 6)
    result = run(Composed((Bucketing(3),), Krum(f=0)), updates, 1)
    assert result.selected.sum() == 3
    torch.testing.assert_close(result.update, updates[result.selected].mean(0))
    assert result.record["buckets"] == 4 and result.record["f"] == 0 and result.record["broken"] == 1
    result = run(Composed((NearestNeighbourMixing(2),), Krum()), updates, 2)
    assert result.selected.sum() == 10
    torch.testing.assert_close(result.update, updates[result.selected].mean(0))
    assert not Composed((NearestNeighbourMixing(),), Median()).columnwise and Composed((), Median()).columnwise
    assert isinstance(Bucketing(), PreAggregation) and isinstance(NearestNeighbourMixing(), PreAggregation)


ROBUST = [rule for rule in SHIFTING if rule != Composed((), Median())]


@pytest.mark.parametrize("rule", [*ROBUST, *ANCHORED, Composed((Bucketing(2),), Median())], ids=repr)
@pytest.mark.parametrize("scale", [1e3, 1e8])
def test_huge_rows_move_it_less_than_the_mean(rule, scale):
    updates = gaussian(19, 50, dtype=torch.float32)
    updates[:4] = -scale * updates[4:].mean(0) + torch.randn(4, 50, generator=torch.Generator().manual_seed(1))
    honest = updates[4:].mean(0)
    error = (aggregate(rule, updates, 4) - honest).norm()
    assert error < 0.1 * (aggregate(Mean(), updates, 4) - honest).norm()
    if rule == GeometricMedian(start="mean"):
        return  # eight steps do not undo 1e8
    # Rules with no fixed anchor also stay within the honest spread; those at zero stay within the honest norms.
    assert error < 2 * (updates[4:] - honest).norm(dim=1).max() + honest.norm()


@pytest.mark.parametrize("rule", [*SELECTING, *SHIFTING[6:]], ids=repr)
def test_equal_copies_three_deviations_off_move_it_less_than_the_mean(rule):
    updates = gaussian(23, 200)
    benign = updates[5:]
    updates[:5] = benign.mean(0) - 3 * benign.std(0)  # what an AGR-tailored attack sends, five times over
    honest = benign.mean(0)
    direction = -benign.std(0) / benign.std(0).norm()
    push = float((aggregate(rule, updates, 5) - honest) @ direction)
    assert push < 0.85 * float((aggregate(Mean(), updates, 5) - honest) @ direction)
    if rule in SELECTING and not isinstance(rule, Bulyan):
        assert not run(rule, updates, 5).selected[:5].any()


@pytest.mark.parametrize("rule", [*SELECTING, *SHIFTING[6:]], ids=repr)
def test_an_agr_tailored_attack_moves_it_less_than_the_mean(rule):
    updates = gaussian(23, 200)
    honest = updates[5:].mean(0)
    attack = AgrTailored(gamma=10.0)
    mean_error = (attacked(Mean(), updates, attack.poison(view_of(updates, 5, Mean()))) - honest).norm()
    assert (attacked(rule, updates, attack.poison(view_of(updates, 5, rule))) - honest).norm() < 0.6 * mean_error


@pytest.mark.parametrize("rule", [Krum(), MultiKrum(select=3)], ids=repr)
def test_min_max_fools_krum_as_it_was_made_to(rule):
    # No farther from any benign update than those are from each other, and nearer to one another: Krum takes a clone.
    updates = gaussian(23, 200)
    poison = MinMax().poison(view_of(updates, 5, rule))
    poisoned = torch.cat([poison.rows, updates[5:]])
    assert run(rule, poisoned, 5).selected[:5].any()


@pytest.mark.parametrize("rule", [*ROBUST, *ANCHORED, Composed((Bucketing(1),), Median())], ids=repr)
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 1e30])
def test_rows_that_are_not_finite_do_no_harm(rule, value):
    updates = gaussian(19, 50, dtype=torch.float32)
    updates[:4] = value
    result = run(rule, updates, 4)
    assert result.update.isfinite().all()
    assert (result.update - updates[4:].mean(0)).norm() < 2 * updates[4:].norm(dim=1).max()
    if isinstance(rule, Krum | MultiKrum | Bulyan):
        assert not result.selected[:4].any()


@pytest.mark.parametrize("rule", [*SHIFTING, *ANCHORED, Composed((Bucketing(2),), Median())], ids=repr)
def test_float32_over_several_blocks_of_columns_is_float64(rule):
    updates = gaussian(12, 20_011, dtype=torch.float32)
    one, other = run(rule, updates, 2), run(rule, updates.double(), 2)
    torch.testing.assert_close(one.update.double(), other.update, rtol=1e-5, atol=2e-6)
    if one.selected is not None:
        assert torch.equal(one.selected, other.selected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("rule", [*SHIFTING, *ANCHORED, *RANDOM], ids=repr)
def test_a_device_agrees(rule):
    updates = gaussian(12, 20_011, dtype=torch.float32)
    one, other = run(rule, updates, 2), run(rule, updates.cuda(), 2)
    assert other.update.is_cuda
    torch.testing.assert_close(other.update.cpu(), one.update, rtol=1e-5, atol=2e-6)
    if one.selected is not None:
        assert torch.equal(one.selected, other.selected.cpu())


def test_which_count_a_rule_believes():
    updates = gaussian(20, 5)
    parts = [lambda m: Krum(f=m), lambda m: MultiKrum(f=m), lambda m: Bulyan(f=m)]
    for make in [*parts, lambda m: MeanAroundMedian(f=m)]:
        for malicious, f, broken in [("actual", 3, 0), ("assumed", 2, 1), (4, 4, 0), (1, 1, 1)]:
            record = run(make(malicious), updates, 3, assumed=2).record
            assert (record["f"], record["broken"]) == (f, broken)
    assert run(GeometricMedian(), updates, 10).record["broken"] == 1
    assert run(CentredClipping(), updates, 9).record["broken"] == 0


@pytest.mark.parametrize(
    ("rule", "n", "f", "words"),
    [
        (Krum(), 8, 3, "at least 9"),
        (Krum(neighbours="n-f-1"), 6, 3, "at least 7"),
        (MultiKrum(), 8, 3, "at least 9"),
        (MultiKrum(select=12), 11, 2, "at least 12"),
        (Bulyan(), 10, 2, "at least 11"),
        (MeanAroundMedian(), 10, 5, "at least 11"),
        (Composed((NearestNeighbourMixing(),), Mean()), 4, 2, "at least 5"),
    ],
)
def test_cohorts_that_are_too_small_get_one_sentence(rule, n, f, words):
    with pytest.raises(ScenarioError, match=words):
        aggregate(rule, gaussian(n, 3), f)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Krum(f=-1),
        lambda: Krum(neighbours="n"),
        lambda: MultiKrum(select=0),
        lambda: Bulyan(f="oracle"),
        lambda: MeanAroundMedian(even="upper"),
        lambda: GeometricMedian(iterations=0),
        lambda: GeometricMedian(nu=0.0),
        lambda: CentredClipping(bound=0.0),
        lambda: CentredClipping(iterations=0),
        lambda: NormClipping(bound=-1.0),
        lambda: NormClipping(noise=-0.1),
        lambda: NearestNeighbourMixing(f=-2),
        lambda: Bucketing(size=0),
        lambda: Composed((Median(),), Median()),
        lambda: Composed((Bucketing(),), Bucketing()),
    ],
)
def test_bad_parameters(make):
    with pytest.raises(ScenarioError):
        make()


@pytest.mark.parametrize("neighbours", ["n-f-2", "n-f-1"])
@pytest.mark.parametrize("f", [0, 3, 15])
def test_bulyan_picks_as_krum_would_on_what_remains(f, neighbours):
    updates = gaussian(70, 40, seed=f)
    updates[5], updates[9] = updates[6].clone(), torch.nan
    distances = row_distances(updates)
    remaining, picked = torch.arange(70), []
    for _ in range(70 - 2 * f):
        scores = krum_scores(distances[remaining][:, remaining], neighbour_count(len(remaining), f, neighbours))
        picked.append(int(remaining[scores.argmin()]))
        remaining = remaining[remaining != picked[-1]]
    selected = Bulyan(neighbours=neighbours).selection(distances, f)
    assert selected.nonzero().flatten().tolist() == sorted(picked)
