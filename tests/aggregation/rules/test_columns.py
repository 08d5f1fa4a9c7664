"""Rules over columns that lie in shards, and over rows that are mixed where they are needed."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import raysplit
from raysplit.aggregation.columns import Columns, MixedColumns, Whole, combined, gathered
from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.rule import AggregationRule, GeometryRule, RoundContext
from raysplit.aggregation.rules.composed import Composed, LinearPreAggregation, PreAggregation
from raysplit.aggregation.rules.crfl import CRFL
from raysplit.aggregation.rules.nearest_neighbour_mixing import NearestNeighbourMixing
from raysplit.analysis.matrix.parts import named_in
from tests.attacks.updates.cohorts import context, gaussian

N, D = 44, 23_000


@dataclass(frozen=True, eq=False)
class Shards:
    """Columns cut at ``cuts``; a kernel reaches each shard by value and sees that shard alone."""

    updates: torch.Tensor
    cuts: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int]:
        return self.updates.shape[0], self.updates.shape[1]

    def _each(self, kernel, vectors):
        sent = pickle.dumps(kernel)
        for start, stop in zip((0, *self.cuts), (*self.cuts, self.updates.shape[1]), strict=True):
            rows = self.updates[:, start:stop].clone()
            before = rows.clone()
            yield pickle.loads(sent)(rows, *(vector[..., start:stop].clone() for vector in vectors))
            assert torch.equal(rows.nan_to_num(), before.nan_to_num())

    def total(self, kernel, *vectors):
        return sum(self._each(kernel, vectors))

    def map(self, kernel, *vectors):
        return torch.cat(list(self._each(kernel, vectors)), dim=-1)


def all_rules() -> dict[str, AggregationRule]:
    rules = {
        "CRFL": CRFL(1.0),
        "DpFedAvg": raysplit.DpFedAvg(1.0, 0.5, N, quantile=0.5),
        "CRFL of NNM": CRFL(1.0, rule=Composed((NearestNeighbourMixing(),), raysplit.GeometricMedian())),
        "CentredClipping, zero": raysplit.CentredClipping(start="zero"),
        "CentredClipping, previous": raysplit.CentredClipping(start="previous"),
        "GeometricMedian, zero": raysplit.GeometricMedian(start="zero"),
        "GeometricMedian, mean": raysplit.GeometricMedian(start="mean"),
        "FLAME, models": raysplit.FLAME(angles="models"),
    }
    for name, cls in named_in("aggregation.rules").items():
        if hasattr(cls, "mix"):
            for rule in (raysplit.Median(), raysplit.Krum(), raysplit.GeometricMedian(), raysplit.Mean()):
                rules[f"{name}, {type(rule).__name__}"] = Composed((cls(),), rule)
        elif name not in ("CRFL", "Composed", "DpFedAvg", "SecureAggregation", "StartAtRound"):
            rules[name] = cls()
    return rules


RULES = all_rules()


def told(columns: int = D, dtype: torch.dtype = torch.float32) -> RoundContext:
    draw = torch.Generator().manual_seed(9)
    return replace(
        context(N, 5),
        reference=torch.randn(columns, generator=draw).to(dtype),
        portion=torch.randn(columns, generator=draw).to(dtype),
        memory={name: torch.randn(columns, generator=draw).to(dtype) for name in ("previous", "3", "17")},
    )


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("cuts", [(10_000, 20_000), (7, 12_345)])
def test_every_rule_runs_on_shards(name: str, cuts: tuple[int, ...]) -> None:
    rule = RULES[name]
    assert isinstance(rule, GeometryRule)
    updates = gaussian(N, D, dtype=torch.float32)
    updates[3] *= 1e4
    weights = torch.full((N,), 1 / N)
    whole = rule.aggregate(updates, weights, told())
    sharded = rule.over(Geometry(Shards(updates, cuts)), weights, told())
    if rule.columnwise:
        assert torch.equal(sharded.update, whole.update)
    torch.testing.assert_close(sharded.update, whole.update, rtol=1e-6, atol=1e-6)
    assert sharded.record == pytest.approx(dict(whole.record), rel=1e-5, abs=1e-3)
    if whole.selected is not None:
        assert sharded.selected is not None and torch.equal(sharded.selected, whole.selected)
    assert sharded.memory.keys() == whole.memory.keys()
    for key, value in whole.memory.items():
        torch.testing.assert_close(sharded.memory[key], value, rtol=1e-6, atol=1e-6)


def test_rules_that_share_a_geometry_return_what_each_returns_alone() -> None:
    updates, weights = gaussian(N, D, dtype=torch.float32), torch.full((N,), 1 / N)
    shared = Geometry.of(updates)
    for name, rule in RULES.items():
        assert isinstance(rule, GeometryRule)
        alone = rule.aggregate(updates, weights, told())
        together = rule.over(shared, weights, told())
        torch.testing.assert_close(together.update, alone.update, rtol=1e-6, atol=1e-6, msg=name)
        assert (together.selected is None) == (alone.selected is None)
        assert alone.selected is None or torch.equal(together.selected, alone.selected)
    for rule in RULES.values():  # nobody has written into what is shared
        assert isinstance(rule, GeometryRule)
        alone = rule.aggregate(updates, weights, told())
        torch.testing.assert_close(rule.over(shared, weights, told()).update, alone.update, rtol=1e-6, atol=1e-6)


@dataclass(frozen=True, eq=False)
class Counted:
    columns: Columns
    asked: list[str]

    @property
    def shape(self) -> tuple[int, int]:
        return self.columns.shape

    def total(self, kernel, *vectors):
        self.asked.append(getattr(kernel, "func", kernel).__name__)
        return self.columns.total(kernel, *vectors)

    def map(self, kernel, *vectors):
        return self.columns.map(kernel, *vectors)


def test_one_gram_matrix_serves_all() -> None:
    asked: list[str] = []
    geometry = Geometry(Counted(Whole(gaussian(N, 300)), asked))
    weights = torch.full((N,), 1 / N, dtype=torch.float64)
    rules = [raysplit.Krum(), raysplit.MultiKrum(), raysplit.Bulyan(), raysplit.GeometricMedian()]
    for rule in [*rules, raysplit.CentredClipping(), RULES["NearestNeighbourMixing, Mean"]]:
        rule.over(geometry, weights, told(300, torch.float64))
    assert asked == ["_gram_from", "products_with"]


@given(n=st.integers(2, 9), b=st.integers(1, 9), d=st.integers(1, 40), seed=st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_mixed_columns_are_the_product(n: int, b: int, d: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    rows, mixing = gaussian(n, d, seed), torch.rand(b, n, generator=draw, dtype=torch.float64)
    mixing[torch.rand(b, n, generator=draw) < 0.4] = 0
    mixed, vector = MixedColumns(Whole(rows), mixing), torch.randn(d, generator=draw, dtype=torch.float64)
    assert mixed.shape == (b, d)
    torch.testing.assert_close(gathered(mixed), mixing @ rows)
    torch.testing.assert_close(mixed.total(lambda y, v: y @ v, vector), mixing @ rows @ vector)
    factors = torch.randn(b, generator=draw, dtype=torch.float64)
    torch.testing.assert_close(combined(mixed, factors), factors @ mixing @ rows)


def test_what_gets_into_mixed_rows_and_what_does_not() -> None:
    rows = gaussian(4, 30)
    rows[3] = torch.nan
    mixing = torch.tensor([[0.5, 0.5, 0, 0], [0.5, 0, 0.5, 0], [torch.nan] * 4], dtype=torch.float64)
    mixed = gathered(MixedColumns(Whole(rows), mixing))
    torch.testing.assert_close(mixed[0], (rows[0] + rows[1]) / 2)
    assert mixed[1].isfinite().all() and mixed[2].isnan().all()
    one = combined(MixedColumns(Whole(rows), mixing), torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(one, mixed[0])
    buckets = torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]], dtype=torch.float64)
    mixed = gathered(MixedColumns(Whole(rows), buckets))
    assert mixed[0].isfinite().all() and mixed[1].isnan().all()


def test_gathering_what_is_here_copies_nothing() -> None:
    rows = gaussian(4, 30)
    assert gathered(Whole(rows)) is rows
    assert torch.equal(gathered(Shards(rows, (7,))), rows)


def test_all_pre_aggregations_of_the_tree_are_linear() -> None:
    steps = [cls() for cls in named_in("aggregation.rules").values() if hasattr(cls, "mix")]
    assert len(steps) >= 4
    for step in steps:
        assert isinstance(step, PreAggregation) and isinstance(step, LinearPreAggregation)
        updates, weights = gaussian(12, 50), torch.full((12,), 1 / 12)
        made = step.mix(updates, weights, context(12, 2))
        mixing = step.mixing(Geometry(Shards(updates, (20,))), weights, context(12, 2))
        torch.testing.assert_close(made.updates, mixing.matrix @ updates)


def test_a_rule_of_ones_own_needs_no_more_than_aggregate() -> None:
    @dataclass(frozen=True)
    class Plain(AggregationRule):
        def aggregate(self, updates, weights, context):
            return raysplit.Median().aggregate(updates, weights, context)

    @dataclass(frozen=True)
    class Twice(PreAggregation):
        columnwise = True

        def mix(self, updates, weights, context):
            step = raysplit.NearestNeighbourMixing().mix(updates, weights, context)
            return replace(step, updates=2 * step.updates)

    updates, weights = gaussian(12, 50), torch.full((12,), 1 / 12, dtype=torch.float64)
    geometry = Geometry(Shards(updates, (20,)))
    expected = Composed((raysplit.NearestNeighbourMixing(),), raysplit.Median())
    for rule, factor in (
        (Composed((raysplit.NearestNeighbourMixing(),), Plain()), 1),
        (Composed((Twice(),), Plain()), 2),
    ):
        result = rule.over(geometry, weights, context(12, 2)).update
        torch.testing.assert_close(result, factor * expected.aggregate(updates, weights, context(12, 2)).update)
