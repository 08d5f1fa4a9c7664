"""Samples that are missing, or that leave a batch of one, are one sentence before anything is trained."""

import numpy as np
import pytest
import torch
from torch import nn

from raysplit.errors import PopulationError, ScenarioError
from raysplit.models.sequential import sequential
from raysplit.parts.part import part
from raysplit.population.population import Samples
from raysplit.population.selection.cohort import Cohort, ParticipationSampler
from raysplit.protocols.centralized import Centralized
from raysplit.protocols.cycle_sl import CycleSfl
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.protocols.splitfed_v3 import SplitFedV3
from raysplit.scenario.layout import Layout
from raysplit.scenario.scenario import Evaluation
from raysplit.simulation.data_check import check_data
from tests.toys import OpenToys, ToyClients, ToyCnn, play, toy


def normed(where="b"):
    def make():
        norm = {"b": nn.BatchNorm1d(8), "c": nn.BatchNorm1d(5)}[where]
        return [
            ("a", nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2))),
            ("b", nn.Sequential(nn.Flatten(), nn.Linear(128, 8), *([norm] if where == "b" else []))),
            ("c", nn.Sequential(nn.Linear(8, 5), *([norm] if where == "c" else []))),
        ]

    return sequential(make, (1, 8, 8), 5, cut="a", tail="b")


def refused(protocol, kind=ScenarioError, **changes):
    """The sentence, before any round."""
    rounds = []
    with pytest.raises(kind) as caught:
        play(toy(protocol, **{"model": normed(), **changes}), watch=rounds.append)
    assert not rounds and "\n" not in str(caught.value)
    return str(caught.value)


PROTOCOLS = [
    FedAvg(),
    SplitLearning(),
    SplitFedV1(),
    SplitFedV1(reading="gradients"),
    SplitFedV2(),
    SplitFedV2(u_shaped=True),
    SplitFedV3(),
    CycleSfl(),
]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=repr)
def test_the_first_client_whose_last_batch_is_one_sample_is_named(protocol):
    # toys have 3, 10, 6, 13, 9 and 5 samples
    assert refused(protocol) == (
        "client 3 of population 'toys' has 13 training samples, which leave one for the last batch of 4, but stage 'b' "
        "of Sequential cannot train on one (BatchNorm); use Training(last_batch='join') or last_batch='drop', or "
        "another batch size"
    )


@pytest.mark.parametrize("last_batch", ["drop", "join"])
@pytest.mark.parametrize(
    "protocol", [FedAvg(), SplitFedV1(), SplitFedV2(u_shaped=True), CycleSfl(server_batch=5)], ids=repr
)
def test_without_a_last_batch_of_one_the_same_network_trains(protocol, last_batch):
    play(toy(protocol, model=normed(), training__last_batch=last_batch, training__rounds=1))


def test_one_partys_samples_are_counted_together():
    assert "the 46 training samples of round 1 leave one for the last batch of 5" in refused(
        Centralized(), training__batch_size=5
    )
    play(toy(Centralized(), model=normed(), training__batch_size=4, training__rounds=1))


def test_only_clients_that_train_are_asked():
    population = ToyClients().open()
    for seed in range(8):
        scenario = toy(FedAvg(), model=normed(), cohort=Cohort(2), training__rounds=1, seed=seed)
        trains = ParticipationSampler(scenario.cohort, seed, population).of(1).reporting.clients.tolist()
        alone = [client for client in trains if client in (3, 4, 5)]
        if not alone:
            check_data(scenario, Layout(scenario), population)
            continue
        with pytest.raises(ScenarioError, match=f"^client {alone[0]} of population"):
            check_data(scenario, Layout(scenario), population)


def test_a_client_with_one_sample_and_batches_of_one_have_sentences_of_their_own():
    alone = ToyClients(2, smallest=1)
    assert "client 0 of population 'toys' has one training sample, but stage 'b'" in refused(
        FedAvg(), population=alone, cohort=Cohort(2), training__last_batch="join"
    )
    assert refused(FedAvg(), training__batch_size=1).startswith("Training.batch_size is 1, but stage 'b' of Sequential")


def test_the_servers_own_batches_are_asked_too():
    said = refused(CycleSfl(server_batch=5), training__batch_size=None)
    assert said.startswith("the 46 smashed samples of step 0 in round 1 leave one for the server's last batch of 5")


def test_a_network_that_takes_one_sample_keeps_its_last_batch():
    played = play(toy(SplitFedV1(), model=ToyCnn("V1", batch_norm=True), training__rounds=1))
    assert played.tables["clients"].column("steps").to_pylist() == [1, 3, 2, 4, 3, 2]


@part
class Untested(ToyClients):
    """``tested`` alone have test samples."""

    tested: tuple[int, ...] = ()

    def open(self):
        return OpenUntested(self)


class OpenUntested(OpenToys):
    def test_sizes(self, clients: np.ndarray) -> np.ndarray:
        return np.isin(clients, self.spec.tested).astype(np.int64)

    def test(self, client: int) -> Samples:
        count = int(client in self.spec.tested)
        return Samples(torch.zeros(count, *self.spec.shape, dtype=torch.uint8), torch.zeros(count, dtype=torch.int64))


def test_nobody_with_a_test_sample_is_one_sentence_before_training():
    assert refused(SplitFedV1(), PopulationError, population=Untested(), model=ToyCnn()) == (
        "population 'toys' has no test samples, so there is nothing to evaluate on; prepare it with a larger share of "
        "test samples"
    )
    some = {"population": Untested(tested=(0,)), "model": ToyCnn(), "seed": 3}
    said = refused(SplitFedV1(), PopulationError, evaluation=Evaluation(clients=1), **some)
    assert said.startswith("none of the 1 evaluated clients of population 'toys' has a test sample")
    assert play(toy(SplitFedV1(), **some)).tables["evaluations"].column("samples").to_pylist() == [1, 1]
