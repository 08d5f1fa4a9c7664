"""The pieces: numbers over all columns, shards that fall out of step, what is refused before training."""

from __future__ import annotations

import threading
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raysplit import (
    CRFL,
    Composed,
    FoolsGold,
    Krum,
    Median,
    ModelReplacement,
    OptimalLittleIsEnough,
    Scheduled,
    SignFlip,
    TrimmedMean,
)
from raysplit.aggregation.across import ALL, STRIPES, Across, ReductionRequest, shard_bounds
from raysplit.aggregation.columns import gathered
from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.rule import Aggregate, AggregationRule, GeometryRule, RoundContext
from raysplit.aggregation.sharding.reduction import CollectiveReduction, Done, run_in_lockstep
from raysplit.aggregation.sharding.shard import LocalShards
from raysplit.aggregation.sharding.sharded_columns import ShardedColumns, aggregate_sharded
from raysplit.aggregation.task import AggregationTask
from raysplit.aggregation.update_attack import UpdateAttack
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.parts.part import part
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.splitfed_v3 import SplitFedV3
from raysplit.simulation.shard_checks import check_shards
from tests.toys import toy


@given(st.integers(1, 400), st.integers(1, STRIPES))
def test_bounds_cover_every_column_once_with_whole_stripes(d, shards):
    bounds = shard_bounds(d, shards)
    assert bounds[0][0] == 0 and bounds[-1][1] == d
    assert all(one[1] == other[0] for one, other in pairwise(bounds))
    held = [slice(s.start + a, s.stop + a) for a, b in bounds for s in Across(a, d).stripes(b - a)]
    assert held == ALL.stripes(d)


@pytest.mark.parametrize("d,edges", [(301, (0, 75, 150, 301)), (200_000, (0, 1, 65_536, 65_537, 140_000, 200_000))])
def test_random_numbers_go_by_column(d, edges):
    for draw in ("normal", "uniform"):
        whole = getattr(ALL, draw)(np.random.default_rng(1), 3, d)
        parts = [getattr(Across(a, d), draw)(np.random.default_rng(1), 3, b - a) for a, b in pairwise(edges)]
        assert torch.cat(parts, 1).equal(whole)
        assert whole.unique().numel() > 0.98 * whole.numel(), "no block repeats another"


def test_shards_that_ask_different_things_are_found_out():
    one = CollectiveReduction(lambda all_reduce: all_reduce(ReductionRequest("sum", [torch.ones(1)])))
    other = CollectiveReduction(lambda all_reduce: all_reduce(ReductionRequest("max", [torch.ones(1)])))
    with pytest.raises(RuntimeError, match="out of step"):
        run_in_lockstep(lambda total: [one.resume(total), other.resume(total)])
    asking = CollectiveReduction(lambda all_reduce: all_reduce(ReductionRequest("max", [torch.ones(1)])))
    silent = CollectiveReduction(lambda all_reduce: None)
    with pytest.raises(RuntimeError, match="out of step"):
        run_in_lockstep(lambda total: [asking.resume(total), silent.resume(total)])
    for reduction in (one, other, asking):
        reduction.cancel()


def test_a_reduction_passes_on_what_its_calculation_raises():
    def calculation(all_reduce):
        raise ScenarioError("no")

    with pytest.raises(ScenarioError, match="no"):
        CollectiveReduction(calculation).resume(None)
    assert CollectiveReduction(lambda all_reduce: 3).resume(None) == Done(3)


def test_a_cancelled_reduction_has_no_thread_left():
    reduction = CollectiveReduction(lambda all_reduce: all_reduce(ReductionRequest("sum", [torch.ones(1)])))
    before = threading.active_count()
    reduction.resume(None)
    assert threading.active_count() == before + 1
    reduction.cancel()
    assert threading.active_count() == before


def task(rule, d=100, n=6):
    context = RoundContext(1, np.arange(n), 0, 0, np.random.default_rng(0))
    benign = torch.zeros(n, dtype=torch.bool)
    weights, positions = torch.full((n,), 1 / n), tuple(range(n))
    return AggregationTask(Channel.UPDATES, rule, None, weights, benign, context, positions, torch.zeros(d), d)


@part
class Gatherer(GeometryRule):
    """A rule that says it goes by columns, and asks for the whole matrix."""

    columnwise = False

    def aggregate(self, updates, weights, context):
        return Aggregate(updates.mean(0))

    def over(self, geometry: Geometry, weights, context):
        return self.aggregate(gathered(geometry.columns), weights, context)


def test_whole_updates_are_not_gathered_silently():
    gathering, shards = task(Gatherer()), LocalShards(3)
    shards.prepare(gathering)
    rows = torch.randn(6, 100)
    for position, row in enumerate(rows):
        shards.put(position, row)
    with pytest.raises(ScenarioError, match="Gatherer asks for whole updates"):
        aggregate_sharded(gathering, shards)
    columns = ShardedColumns(shards, (6, 100))
    assert columns.map(lambda part: part[2]).equal(rows[2])
    shards.cancel()


@part
class OldRule(AggregationRule):
    columnwise = True

    def aggregate(self, updates, weights, context):
        return Aggregate(updates.mean(0))


@part
class OldAttack(UpdateAttack):
    start_round: int = 1
    threat_model = SignFlip().threat_model

    def poison(self, view):
        raise NotImplementedError


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"defense": FoolsGold()}, "FoolsGold remembers"),
        ({"defense": CRFL(1.0, FoolsGold())}, "FoolsGold remembers"),
        ({"defense": Composed((), OldRule())}, "OldRule has no over"),
        ({"attack": Scheduled(ModelReplacement(OldAttack()))}, "OldAttack does not say"),
        ({"defense": Krum(), "attack": Scheduled(OptimalLittleIsEnough())}, "OptimalLittleIsEnough simulates Krum"),
        ({"record_updates_every": 2}, "recorded updates"),
        ({"protocol": SplitFedV3()}, "averages no client portions"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_sharded_is_refused_by_name(changes, words):
    protocol = changes.get("protocol", FedAvg())
    changes = {name: value for name, value in changes.items() if name != "protocol"}
    scenario = toy(protocol, "V2", clients=11, cohort__malicious=0.2, **changes)
    check_shards(scenario, 1)
    with pytest.raises(ScenarioError, match=words) as caught:
        check_shards(scenario, 4)
    assert "--shards" in str(caught.value) and "\n" not in str(caught.value)


def test_what_can_be_sharded_is_not_refused():
    for attack in (None, SignFlip(), Scheduled(ModelReplacement(SignFlip())), OptimalLittleIsEnough()):
        check_shards(toy(FedAvg(), clients=11, cohort__malicious=0.2, defense=TrimmedMean(), attack=attack), 16)
    check_shards(toy(FedAvg(), defense=Composed((), Median())), 2)
    with pytest.raises(ScenarioError, match="at most 16"):
        check_shards(toy(FedAvg()), 17)
