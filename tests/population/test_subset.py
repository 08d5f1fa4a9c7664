"""A random part of a population: whose samples, how many, and the same ones again."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysplit.errors import PopulationError
from raysplit.population.partition.iid import Iid
from raysplit.population.partition.partitioned import partitioned
from raysplit.population.partition.subset import Subset, subset
from tests.toys import ToyClients

POOL = ToyClients(6)
WHOLE = POOL.open()
TRAIN = int(WHOLE.train_sizes(np.arange(6)).sum())
TEST = int(WHOLE.test_sizes(np.arange(6)).sum())


def rows(samples):
    return {(x.numpy().tobytes(), int(y)) for x, y in zip(*samples, strict=True)}


EVERYTHING = set().union(*(rows(WHOLE.train(client)) for client in range(6)))


@given(st.integers(1, TRAIN), st.integers(1, TEST), st.integers(0, 9))
def test_a_part_is_so_many_different_samples_of_the_pool(train, test, seed):
    opened = Subset(POOL, train, test, seed).open()
    sampled = opened.train(0)
    assert len(sampled.y) == train == len(rows(sampled)) == opened.train_sizes(np.array([0]))[0]
    assert len(opened.test(0).y) == test == opened.test_sizes(np.array([0]))[0]
    assert rows(sampled) <= EVERYTHING
    assert opened.labels(0, "train").tolist() == sampled.y.tolist()


def test_all_of_it_is_the_pool_and_more_contains_fewer():
    assert rows(subset(POOL, TRAIN, TEST).open().train(0)) == EVERYTHING
    assert rows(subset(POOL, 5, 1).open().train(0)) < rows(subset(POOL, 11, 1).open().train(0))


def test_a_seed_is_a_choice_and_the_digest_names_it():
    one, same, other = (subset(POOL, 9, 2, seed).open() for seed in (1, 1, 2))
    assert one.train(0).x.equal(same.train(0).x) and one.info == same.info
    assert not one.train(0).x.equal(other.train(0).x) and one.info.digest != other.info.digest
    assert pickle.loads(pickle.dumps(one)).train(0).x.equal(one.train(0).x)


def test_a_part_can_be_dealt():
    opened = partitioned(subset(POOL, 12, 4), Iid(), clients=3).open()
    assert opened.train_sizes(np.arange(3)).tolist() == [4, 4, 4]


def test_more_than_there_is_is_refused():
    with pytest.raises(PopulationError, match=f"Subset.train is {TRAIN + 1}, but population 'toys' has {TRAIN}"):
        subset(POOL, TRAIN + 1, 1).open()
    with pytest.raises(IndexError):
        subset(POOL, 1, 1).open().train(1)
