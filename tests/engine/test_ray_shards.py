"""Column shards as Ray actors: the bits of the local engine, no portion at the driver, and a round played again where
one dies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from raysplit import AgrTailored, GaussianNoise, MeanAroundMedian, Median, MinMax, TrimmedMean
from raysplit.engine.placement import Wanted, lay_out
from raysplit.engine.ray.ray_engine import RayEngine
from raysplit.errors import ScenarioError
from raysplit.population.selection.dropouts import Dropouts
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from tests.engine.faults import Assassin, FaultyClients, alive, arm_after
from tests.engine.test_ray_engine import assert_same
from tests.toys import ToyCnn, play, toy


@contextmanager
def sharded(scenario, cluster, shards, hosts=2, placement="auto") -> Iterator[RayEngine]:
    layout = lay_out(scenario, cluster, Wanted(hosts=hosts, placement=placement, shards=shards))
    with RayEngine(scenario, layout, cluster.actor_pool) as engine:
        yield engine


def attacked(protocol, rule, attack, **changes):
    changes = {"cohort__malicious": 0.2, "defense": rule, "attack": attack, **changes}
    return toy(protocol, changes.pop("cut", None), clients=11, **changes)


@pytest.mark.parametrize(
    "scenario,placement",
    [
        (attacked(FedAvg(), TrimmedMean(), AgrTailored()), "colocated"),
        (attacked(SplitFedV1(), Median(), GaussianNoise(0.1), model=ToyCnn("V2", batch_norm=True)), "colocated"),
        (attacked(SplitFedV2(), Median(), MinMax(), cut="V3"), "pooled"),
    ],
    ids=["fedavg", "batch-norm", "pooled"],
)
def test_shards_give_the_bits_of_the_local_engine(cluster, scenario, placement):
    with sharded(scenario, cluster, 3, placement=placement) as engine:
        assert engine.describe()["shards"] == 3 and len({pid for pid in engine.pids.values()}) == len(engine.pids)
        train, sizes = engine.train_sharded, []

        def watched(plan, start, task):
            outcome, aggregated = train(plan, start, task)
            sizes.append(len(outcome.client_rows))
            return outcome, aggregated

        engine.train_sharded = watched
        played = play(scenario, engine)
    reference = play(scenario)
    assert_same(played, reference)
    for table in ("aggregation", "attacks"):
        columns = [name for name in reference.tables[table].column_names if name != "seconds"]
        assert played.tables[table].select(columns) == reference.tables[table].select(columns)
    assert sizes == [0, 0], "no portion came to the driver"
    assert played.tables["rounds"].column("ray_calls").to_pylist()[1] < 60


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["shard-1", "host-0"])
def test_a_process_killed_while_rows_come_in_changes_no_bit(cluster, tmp_path, victim):
    def scenario(population=None):
        changes = {} if population is None else {"population": population}
        return toy(FedAvg(), defense=Median(), training__rounds=3, **changes)

    with sharded(scenario(FaultyClients(6, folder=str(tmp_path), client=4)), cluster, 2) as engine:
        pid = engine.pids[victim]
        with Assassin(tmp_path, pid) as assassin:
            faulty = scenario(FaultyClients(6, folder=str(tmp_path), client=4))
            played = play(faulty, engine, watch=arm_after(tmp_path, 1))
        assert assassin.struck and engine.pids[victim] != pid
    assert played.retries() >= 1
    assert_same(played, play(scenario()))


@pytest.mark.slow
def test_a_shard_killed_in_the_middle_of_the_meeting_changes_no_bit(cluster):
    scenario = attacked(FedAvg(), TrimmedMean(), AgrTailored(gamma="ndss21"))
    with sharded(scenario, cluster, 2) as engine:
        ask, said = engine._answers, []

        def deadly(calls):
            said.append(calls)
            if len(said) == 5:
                os.kill(engine.pids["shard-0"], signal.SIGKILL)
                while alive(engine.pids["shard-0"]):
                    time.sleep(0.01)
            return ask(calls)

        engine._answers = deadly
        played = play(scenario, engine)
    assert played.retries() == 1
    assert_same(played, play(scenario))


def test_what_a_rule_says_in_a_shard_reaches_the_caller(cluster):
    scenario = attacked(FedAvg(), MeanAroundMedian(5), None).replace(**{"cohort.dropouts": Dropouts(0.3)})
    with (
        sharded(scenario, cluster, 2) as engine,
        pytest.raises(ScenarioError, match="needs at least 11 updates") as caught,
    ):
        play(scenario, engine)
    assert "\n" not in str(caught.value)
