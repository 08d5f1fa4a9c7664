"""LEAF's split by user: clients that train, and clients that the model is tested on and never sees."""

import pickle

import numpy as np
import pyarrow as pa
import pytest

from raysplit.aggregation.rules.fltrust import FLTrust
from raysplit.errors import PopulationError, ScenarioError
from raysplit.population.arrow import ArrowFile, clients_file
from raysplit.population.arrow_writer import ClientData, write_population
from raysplit.population.partition.by_user import by_user
from raysplit.population.partition.iid import Iid
from raysplit.population.partition.partitioned import partitioned
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v3 import SplitFedV3
from raysplit.scenario.population_check import check_population
from tests.toys import ToyClients, play, toy


def rows(samples):
    return sorted((x.numpy().tobytes(), int(label)) for x, label in zip(samples.x, samples.y, strict=True))


def test_every_client_trains_or_is_tested_on_with_all_its_samples():
    whole, split = ToyClients(30).open(), by_user(ToyClients(30), 0.2).open()
    ids = np.arange(30)
    assert (split.info.unseen, split.info.trainable) == (6, 24)
    train, test = split.train_sizes(ids), split.test_sizes(ids)
    assert train[:24].all() and not train[24:].any() and test[24:].all() and not test[:24].any()
    of_each = [[sorted(rows(p.train(k)) + rows(p.test(k))) for k in ids] for p in (whole, split)]
    assert sorted(of_each[0]) == sorted(of_each[1])
    assert [len(split.train(k).y) for k in ids] == train.tolist()
    assert [len(split.test(k).y) for k in ids] == test.tolist()
    again = pickle.loads(pickle.dumps(split))
    assert again.info == split.info and rows(again.test(29)) == rows(split.test(29))
    assert by_user(ToyClients(30), 0.2, seed=1).open().info.digest != split.info.digest


@pytest.mark.parametrize("protocol", [FedAvg(), SplitLearning(), SplitFedV3()], ids=repr)
def test_unseen_clients_are_all_that_is_evaluated_and_none_that_trains(protocol):
    scenario = toy(protocol, clients=8, population=by_user(ToyClients(10), 0.2), training__rounds=4)
    tables = play(scenario.replace(cohort=Cohort(5))).tables
    assert set(tables["clients"].column("client").to_pylist()) <= set(range(8))
    assert set(tables["client_evaluations"].column("client").to_pylist()) == {8, 9}
    sizes = scenario.population.open().test_sizes(np.array([8, 9]))
    assert set(tables["evaluations"].column("samples").to_pylist()) == {int(sizes.sum())}


def test_cohorts_and_root_clients_are_drawn_from_those_that_train():
    population = by_user(ToyClients(10), 0.2)
    scenario = toy(FedAvg(), clients=9, population=population)
    with pytest.raises(ScenarioError, match=r"Cohort.size is 9, but the population 'toys, by user' has only 8 clients"):
        check_population(scenario, population.open().info)
    rooted = toy(FedAvg(), clients=8, population=population, defense=FLTrust(roots=(8,)))
    with pytest.raises(ScenarioError, match="names the root client 8, but the population 'toys, by user' has only 8"):
        check_population(rooted, population.open().info)


def test_clients_that_are_tested_while_they_train_are_not_unseen():
    population = by_user(ToyClients(10), 0.2)
    scenario = toy(SplitFedV1(as_published="thapa2022"), clients=8, population=population)
    with pytest.raises(ScenarioError, match="SplitFedV1 as published tests clients while they train, but those of"):
        check_population(scenario, population.open().info)


def test_what_cannot_be_split_by_user():
    with pytest.raises(PopulationError, match=r"test_share=0\.1 of the 1 clients of .* leaves 0 to train and 1"):
        by_user(ToyClients(1), 0.1).open()
    with pytest.raises(PopulationError, match="leaves 5 to train and 0 to test on"):
        by_user(ToyClients(5), 0.0).open()
    with pytest.raises(PopulationError, match="is split by user already"):
        by_user(by_user(ToyClients(10))).open()


def test_a_pool_that_was_split_by_user_keeps_its_unseen_test_set():
    dealt = partitioned(by_user(ToyClients(10), 0.2), Iid(), 4).open()
    assert dealt.info.unseen == 0
    whole = by_user(ToyClients(10), 0.2).open()
    tested = [row for k in range(4) for row in rows(dealt.test(k))]
    assert sorted(set(tested)) == sorted({row for k in (8, 9) for row in rows(whole.test(k))})


def client(name, train, test):
    x = np.full((train + test, 1, 2, 2), 7, dtype=np.uint8)
    y = np.zeros(train + test, dtype=np.int64)
    return ClientData(name, x[:train], y[:train], x[train:], y[train:])


def written(path, clients, unseen=True):
    return write_population(path, clients, name="p", shape=(1, 2, 2), classes=2, unseen=unseen)


def test_a_file_tells_unseen_clients(tmp_path):
    path = tmp_path / "p.arrow"
    info = written(path, [client("a", 3, 0), client("b", 2, 0), client("c", 0, 4)])
    opened = ArrowFile(str(path)).open()
    assert opened.info == info and info.unseen == 1
    assert opened.train_sizes(np.arange(3)).tolist() == [3, 2, 0]
    assert len(opened.train(2).y) == 0 and len(opened.test(2).y) == 4
    opened.verify()


def test_a_file_without_unseen_clients_is_as_before(tmp_path):
    some = [client("a", 3, 1), client("b", 2, 0)]
    written(tmp_path / "p.arrow", some)
    written(tmp_path / "q.arrow", some, unseen=False)
    for one in (tmp_path / "p.arrow", clients_file(tmp_path / "p.arrow")):
        assert one.read_bytes() == one.with_name(one.name.replace("p.", "q.", 1)).read_bytes()
    assert b"unseen" not in clients_file(tmp_path / "p.arrow").read_bytes()


@pytest.mark.parametrize(
    ("clients", "unseen", "words"),
    [
        ([("a", 1, 0), ("b", 0, 1)], False, "client 'b' has no training samples"),
        ([("a", 0, 1), ("b", 1, 0)], True, "client 'a' has no training samples"),
        ([("a", 1, 0), ("b", 0, 0)], True, "client 'b' has no training samples"),
        ([("a", 1, 0), ("b", 0, 1), ("c", 1, 0)], True, "client 'c' has training samples, but comes after 'b'"),
    ],
)
def test_unseen_clients_come_last_and_only_where_they_are_meant(tmp_path, clients, unseen, words):
    with pytest.raises(PopulationError, match=words):
        written(tmp_path / "p.arrow", [client(*one) for one in clients], unseen)


@pytest.mark.parametrize("unseen", [1, 3])
def test_the_number_of_unseen_clients_is_checked(tmp_path, unseen):
    path = tmp_path / "p.arrow"
    written(path, [client("a", 3, 0), client("b", 0, 4), client("c", 0, 4)])
    with pa.OSFile(str(clients_file(path))) as file:
        table = pa.ipc.open_file(file).read_all()
    table = table.replace_schema_metadata(table.schema.metadata | {b"unseen": str(unseen).encode()})
    with pa.OSFile(str(clients_file(path)), "wb") as out, pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(PopulationError, match="its offsets do not cover the 11 samples client by client"):
        ArrowFile(str(path)).open()
