"""Invented speeches: LEAF's windows, the same for everybody who asks, and enough of a pattern to be learnt."""

import pickle

import numpy as np
import pytest
import torch

from raysplit.errors import PopulationError
from raysplit.population.text.characters import ALPHABET, windows
from raysplit.population.text.synthetic import synthetic_roles


def test_a_roles_samples_are_the_windows_of_its_speeches():
    population = synthetic_roles(roles=5).open()
    for part, samples in (("train", population.train(3)), ("test", population.test(3))):
        speech = population.speech(3, part, len(samples.y))
        x, y = windows(speech)
        assert samples.x.equal(torch.from_numpy(x.copy())) and samples.y.equal(torch.from_numpy(y))
        assert speech.endswith("\n") and set(speech) <= set(ALPHABET) and len(speech) == len(samples.y)
    assert population.speech(3, "train", 40) != population.speech(3, "test", 40)
    assert population.info.shape == (1, 1, 80) and population.info.classes == 80 and population.info.synthetic


def test_a_role_does_not_depend_on_how_many_others_there_are():
    few, many = synthetic_roles(roles=5).open(), synthetic_roles(roles=10**6).open()
    ids = np.arange(5)
    assert few.train_sizes(ids).tolist() == many.train_sizes(ids).tolist()
    assert few.train(4).x.equal(many.train(4).x)
    assert few.info.digest != many.info.digest
    again = pickle.loads(pickle.dumps(few))
    assert again.train(4).x.equal(few.train(4).x)
    assert not synthetic_roles(roles=5, seed=1).open().train(4).x[:20].equal(few.train(4).x[:20])


def test_sizes_are_those_asked_for():
    ids = np.arange(20_000)
    population = synthetic_roles(roles=20_000, mean_samples=3743, spread=1.15, test_share=0.2).open()
    train, test = population.train_sizes(ids), population.test_sizes(ids)
    sizes = train + test
    assert abs(sizes.mean() / 3743 - 1) < 0.05 and abs(np.log(sizes).std() / 1.15 - 1) < 0.02
    assert abs(test.sum() / sizes.sum() - 0.2) < 0.01 and (train >= 1).all() and (test >= 1).all()
    alike = synthetic_roles(roles=10, mean_samples=30, spread=0, test_share=0).open()
    assert set(alike.train_sizes(ids[:10]).tolist()) == {30} and not alike.test_sizes(ids[:10]).any()


def test_roles_favour_words_of_their_own():
    def words(skew: float, role: int) -> set[str]:
        return set(synthetic_roles(roles=9, skew=skew).open().speech(role, "train", 2000).lower().split())

    def shared(skew: float) -> float:
        one, other = words(skew, 0), words(skew, 1)
        return len(one & other) / len(one | other)

    assert shared(4.0) < 0.5 * shared(0.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"roles": 0}, "roles must lie in 1"),
        ({"roles": 2.5}, "roles must be a whole number"),
        ({"mean_samples": 1}, "mean_samples must lie in 2"),
        ({"test_share": 1.0}, "test_share must lie in 0"),
        ({"skew": float("nan")}, "skew must be a number"),
    ],
)
def test_impossible_roles_are_one_sentence(options, words):
    with pytest.raises(PopulationError, match=words):
        synthetic_roles(**options)


def test_a_role_that_is_not_there_is_named():
    with pytest.raises(PopulationError, match="Client 5 does not exist: the population has 5 clients"):
        synthetic_roles(roles=5).open().train(5)
