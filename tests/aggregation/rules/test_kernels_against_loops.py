"""The block kernels against the plainest loops that mean the same: same bits where rows are added, 1e-6 where Gram
matrices round."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raysplit.aggregation import order_statistics
from raysplit.aggregation.columns import combine
from raysplit.aggregation.geometry import Geometry, robust_centre, row_distances, row_norms
from raysplit.aggregation.gram import centred_gram, exact_gram
from raysplit.aggregation.order_statistics import add_rows, column_blocks, extremes, mean_std, weighted_sum
from raysplit.aggregation.poisoning import reorder_rows
from raysplit.aggregation.rules.mean_around_median import mean_nearest_median
from raysplit.attacks.updates.order_lemma import clamped_mean


def rows_of(n: int, d: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).mul_(3).to(dtype)


def added(rows: torch.Tensor) -> torch.Tensor:
    total = rows[0].clone()
    for row in rows[1:]:
        total = total + row
    return total


shapes = st.tuples(
    st.integers(1, 70), st.integers(1, 50), st.integers(0, 999), st.sampled_from([torch.float32, torch.float64])
)


@settings(max_examples=60, deadline=None)
@given(shapes)
def test_sums_have_the_bits_of_a_loop_over_rows(shape: tuple[int, int, int, torch.dtype]) -> None:
    n, d, seed, dtype = shape
    rows = rows_of(n, d, seed, dtype)
    assert torch.equal(add_rows(rows), added(rows))
    wide = rows_of(n, d + 7, seed, dtype)[:, 3 : d + 3]  # a block of a wider matrix
    assert torch.equal(add_rows(wide), added(wide))
    assert torch.equal(add_rows(rows.T.contiguous().T), added(rows))
    weights = torch.rand(n, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(weighted_sum(rows, weights), added(rows * weights.to(dtype)[:, None]))
    mean, std = mean_std(rows)
    assert torch.equal(mean, added(rows) / n)
    if n > 1:
        assert torch.equal(std, (added((rows - mean) ** 2) / (n - 1)).sqrt())
        first, second = mean_std(rows[:1], rows[1:])
        assert torch.equal(first, mean) and torch.equal(second, std)
    else:
        assert not std.any()
    low, high = extremes(rows)
    assert torch.equal(low, rows.amin(0)) and torch.equal(high, rows.amax(0))


@pytest.mark.parametrize("n", [1, 2, 100, 1000])
def test_the_bits_do_not_depend_on_the_block_that_a_column_lies_in(n: int) -> None:
    rows = rows_of(n, 25_001 if n <= 100 else 2_001)
    whole = mean_std(rows)
    # The last column alone, and the last two: a block may be as narrow as that.
    for width in (1, 2, 3):
        for here, there in zip(whole, mean_std(rows[:, -width:]), strict=True):
            assert torch.equal(here[-width:], there)
    assert [(s.start, s.stop) for s in column_blocks(rows, narrow=True)][-1][1] == rows.shape[1]


def test_a_narrow_block_is_no_multiple_of_1024(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_statistics, "NARROW", 1024 * 10)
    assert next(iter(column_blocks(torch.zeros(10, 5000), narrow=True))).stop % 1024 != 0


@settings(max_examples=60, deadline=None)
@given(shapes, st.data())
def test_combine_has_the_bits_of_a_loop_and_lets_no_lost_row_in(
    shape: tuple[int, int, int, torch.dtype], data: st.DataObject
) -> None:
    n, d, seed, dtype = shape
    rows = rows_of(n, d, seed, dtype)
    factors = torch.tensor(
        data.draw(st.lists(st.sampled_from([0.0, 0.3, -1.7, 1 / 3]), min_size=n, max_size=n))
    ).double()
    rows[factors == 0] = torch.nan
    total = torch.zeros(d, dtype=dtype)
    for i, factor in enumerate(factors.tolist()):
        if factor != 0:
            total = total + rows[i] * factor
    assert torch.equal(combine(rows, factors), total)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(0, 12), st.integers(2, 20), st.integers(0, 99), st.data())
def test_clamped_mean_has_the_bits_of_a_loop_over_ranks(
    n_b: int, m: int, d: int, seed: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(1, n_b + m))
    last = data.draw(st.integers(first, n_b + m))
    ordered, value = rows_of(n_b, d, seed).sort(0).values, rows_of(1, d, seed + 1)[0]
    terms = []
    for i in range(first, last + 1):
        term = value
        if i - m >= 1:
            term = torch.maximum(term, ordered[i - m - 1])
        if i <= n_b:
            term = torch.minimum(term, ordered[i - 1])
        terms.append(term)
    assert torch.equal(clamped_mean(ordered, value, m, first, last), added(torch.stack(terms)) / (last - first + 1))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 20), st.integers(0, 99), st.sampled_from(["lower", "midpoint"]), st.data())
def test_mean_nearest_median_has_the_bits_of_a_gather(
    n: int, d: int, seed: int, even: str, data: st.DataObject
) -> None:
    keep = data.draw(st.integers(1, n))
    rows = rows_of(n, d, seed).round() if seed % 2 else rows_of(n, d, seed)  # rounded: with ties
    ordered = rows.sort(0).values
    lower, upper = ordered[(n - 1) // 2], ordered[n // 2]
    median = lower if even == "lower" else lower + (upper - lower) / 2
    start = (ordered[keep:] - median < median - ordered[: n - keep]).sum(0)
    window = ordered.gather(0, start + torch.arange(keep)[:, None])
    assert torch.equal(mean_nearest_median(rows, keep, even), added(window) / keep)  # type: ignore[arg-type]


def test_gram_matrices_have_the_bits_of_whole_blocks() -> None:
    rows, shift = rows_of(9, 23_000), rows_of(2, 23_000, 1)
    blocks = list(column_blocks(rows))
    assert len(blocks) > 2
    plain = [torch.cat([rows[:, c] - shift[0, c], shift[1, None, c]]) for c in blocks]
    expected = torch.zeros(10, 10, dtype=torch.float64)
    exact = torch.zeros(9, 9, dtype=torch.float64)
    for block, c in zip(plain, blocks, strict=True):
        expected += (block @ block.T).double()
        moved = rows[:, c].double() + shift[0, c].double()
        exact += moved @ moved.T
    assert torch.equal(centred_gram(rows, shift[0], shift[1]), expected)
    assert torch.equal(exact_gram(rows, shift[0]), exact)


@pytest.mark.parametrize("n", [1, 63, 64, 65, 300])
def test_a_gram_matrix_by_panels_is_the_product_and_symmetric(n: int) -> None:
    rows = rows_of(n, 7_000)
    gram = exact_gram(rows)
    torch.testing.assert_close(gram, rows.double() @ rows.double().T, rtol=1e-12, atol=1e-9)
    assert torch.equal(gram, gram.T)
    torch.testing.assert_close(centred_gram(rows, torch.zeros(7_000)), gram, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("scale", [1.0, 1e-25, 1e25])
def test_norms_of_float32_rows(scale: float) -> None:
    rows = rows_of(5, 12_000, dtype=torch.float32) * scale
    rows[0] = 0
    assert torch.allclose(row_norms(rows), rows.double().norm(dim=1), rtol=1e-6, atol=0)


def test_norms_are_those_of_float64_and_survive_huge_tiny_and_lost_rows() -> None:
    rows = rows_of(5, 3000)
    rows[1] *= 1e30
    rows[2] *= 1e-30
    rows[3, 7] = torch.nan
    rows[4, 9] = torch.inf
    norms = row_norms(rows)
    assert torch.allclose(norms[:3], rows[:3].double().norm(dim=1), rtol=1e-12, atol=0)
    assert norms[3].isnan() and norms[4].isinf()


@pytest.mark.parametrize("case", ["alike", "clones", "huge", "huge minority in the sample", "lost", "far from zero"])
def test_distances_from_the_median_of_a_sample_are_the_true_ones(case: str) -> None:
    rows = rows_of(60, 4000)
    if case == "clones":
        rows[:12] = rows[12:].mean(0) - 30
    elif case == "huge":
        rows[:20] *= 1e6
    elif case == "huge minority in the sample":
        rows[::3] = 1e6 + rows[::3]  # every row of the sample: its median lies far from most
    elif case == "lost":
        rows[::3, 5] = torch.nan
    elif case == "far from zero":
        rows += 1000
    distances = row_distances(rows)
    finite = rows.isfinite().all(1)
    exact = torch.cdist(
        rows[finite].double(), rows[finite].double(), compute_mode="donot_use_mm_for_euclid_dist"
    ).square()
    got = distances[finite][:, finite]
    bulk = torch.ones(len(got), dtype=torch.bool)  # the distance of two far rows rounds by their own lengths
    if case == "clones":
        bulk[:12] = False
    elif case == "huge":
        bulk[:20] = False
    elif case == "huge minority in the sample":
        bulk[::3] = False
    assert torch.allclose(got[bulk][:, bulk], exact[bulk][:, bulk], rtol=3e-6, atol=1e-9)
    assert torch.allclose(got, exact, rtol=3e-6, atol=3e-6 * float(exact.max()))
    assert distances[~finite][:, finite].isinf().all()
    assert torch.equal(distances, distances.T)


def test_a_small_cohort_is_measured_from_the_median_of_all() -> None:
    rows = rows_of(10, 500)
    assert torch.equal(Geometry.of(rows).centre, robust_centre(rows)), "and a large one from that of a sample:"
    many = rows_of(40, 500)
    assert not torch.equal(Geometry.of(many).centre, robust_centre(many))
    exact = torch.cdist(rows.double(), rows.double()).square()
    assert torch.allclose(row_distances(rows), exact, rtol=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.permutations(range(9)))
def test_reordering_in_place_is_indexing_and_can_be_undone(order: list[int]) -> None:
    rows = rows_of(9, 4)
    moved = rows.clone()
    reorder_rows(moved, np.array(order))
    assert torch.equal(moved, rows[order])
    reorder_rows(moved, np.argsort(order))
    assert torch.equal(moved, rows)
