"""A user's own population is held to its contract at the border: what breaks it is one sentence, and names whose data
it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from raysplit.errors import PopulationError, ScenarioError
from raysplit.parts.part import part
from raysplit.population.opening import open_population
from raysplit.population.partition.iid import Iid
from raysplit.population.partition.partitioned import partitioned
from raysplit.population.population import PopulationSpec, Samples
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.training.failures import ClientFailure, ClientMistake
from tests.toys import OpenToys, ToyClients, play, toy


class Mended(OpenToys):
    """A toy population of which some answers are others."""

    def __init__(self, **answers: Any) -> None:
        super().__init__(ToyClients())
        vars(self).update(answers)


@part
class Own(PopulationSpec):
    """Opens what the test that is under way has put here."""

    def open(self) -> Any:
        return OPENED[0]


OPENED: list[Any] = [None]


def own(**answers: Any) -> Own:
    OPENED[0] = Mended(**answers)
    return Own()


def one_more(client: int) -> Samples:
    x, y = OpenToys(ToyClients()).train(client)
    return Samples(x[:-1], y[:-1])


TOYS = OpenToys(ToyClients())
X, Y = TOYS.train(2)


@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV2()])
def test_a_set_of_another_size_than_it_says_is_refused_instead_of_weighed_wrongly(protocol):
    with pytest.raises(
        ClientMistake, match=r"client 0, .*Mended\.train\(0\) returned 2 samples, but train_sizes\(\) sa"
    ):
        play(toy(protocol, population=own(train=one_more)))


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        (lambda client: (X, Y), None),
        (
            lambda client: Samples(X.float(), Y),
            r"Mended\.train\(2\) must return Samples with x torch\.uint8 \[n, 1, 8, 8",
        ),
        (lambda client: Samples(X[:, 0], Y), r"but it returned x torch\.uint8 \[6, 8, 8\] and y torch\.int64 \[6\]$"),
        (lambda client: Samples(X, Y.int()), r"y torch\.int64 \[n\], but it returned .* y torch\.int32"),
        (lambda client: Samples(X, Y[:-1]), r"must return Samples"),
        (lambda client: Samples(X.numpy(), Y.numpy()), r"but it returned x a ndarray and y a ndarray$"),
        (lambda client: [X, Y], r"but it returned a list$"),
        (lambda client: Samples(X, Y + 5), r"has labels from \d to \d, but info says 5 classes, counted from 0"),
        (lambda client: Samples(X, Y - 5), r"has labels from -\d to -\d, but info says 5 classes"),
    ],
)
def test_what_no_set_of_samples_can_be_is_refused(train, sentence):
    population = open_population(own(train=train))
    if sentence is None:
        assert torch.equal(population.train(2).x, X)
        return
    with pytest.raises(PopulationError, match=sentence):
        population.train(2)


@pytest.mark.parametrize(
    "sizes",
    [lambda c: [1] * len(c), lambda c: np.ones(len(c)), lambda c: np.ones(1, np.int64), lambda c: -np.ones_like(c)],
)
def test_sizes_that_are_no_counts_are_refused(sizes):
    with pytest.raises(PopulationError, match=r"Mended\.train_sizes\(\) must return an array of whole numbers"):
        open_population(own(train_sizes=sizes)).train_sizes(np.arange(4))


@pytest.mark.parametrize(
    "info",
    [
        {"clients": 0},
        {"clients": 2.0},
        {"classes": 0},
        {"shape": (8, 8)},
        {"shape": [1, 8, 8]},
        {"dtype": "float64"},
        {"unseen": 6},
    ],
)
def test_info_that_describes_nothing_is_refused(info):
    with pytest.raises(PopulationError, match=r"Mended\.info must have at least 1 client that trains"):
        open_population(own(info=replace(TOYS.info, **info)))
    with pytest.raises(PopulationError, match=r"Mended\.info must be a PopulationInfo, but it is \{"):
        open_population(own(info=vars(TOYS.info)))


def test_what_is_opened_and_no_population_is_refused_with_the_nearest_name():
    class Open:
        info, train_size, test_sizes, train, test = TOYS.info, None, None, None, None

    OPENED[0] = Open()
    with pytest.raises(PopulationError) as caught:
        open_population(Own())
    assert str(caught.value) == (
        "Own.open() must return a Population, with info, train_sizes, test_sizes, train, test, but the Open that it "
        "returned has no 'train_sizes'; did you mean 'train_size'?"
    )
    OPENED[0] = None
    with pytest.raises(PopulationError, match=r"but the NoneType that it returned has no 'info'$"):
        open_population(Own())


def test_a_test_set_that_raises_names_its_client():
    def cursed(client: int) -> Samples:
        if client == 4:
            raise KeyError("page 4")
        return TOYS.test(client)

    with pytest.raises(ClientFailure) as caught:
        play(toy(FedAvg(), population=own(test=cursed)))
    assert str(caught.value) == "evaluation, client 4, on this process: KeyError: 'page 4'"
    assert "cursed" in caught.value.trace


def test_an_own_pool_is_held_to_its_contract_too():
    with pytest.raises(PopulationError, match=r"Mended\.train\(\d\) returned \d+ samples, but train_sizes\(\) says"):
        partitioned(own(train=one_more), Iid(), 3).open().train(0)


def test_an_own_population_that_keeps_its_contract_trains_to_the_same_bits():
    assert play(toy(SplitFedV2(), population=own())).digest == play(toy(SplitFedV2())).digest


def test_a_misspelt_population_is_refused_when_the_class_is_made():
    with pytest.raises(
        ScenarioError, match=r"^Mine declares 'opens', .*no answer of a population; did you mean 'open'\?$"
    ):
        part(type("Mine", (PopulationSpec,), {"opens": lambda self: None}))
    with pytest.raises(ScenarioError, match=r"^Mine does not answer 'open', which a population must; declare it$"):
        part(type("Mine", (PopulationSpec,), {}))
