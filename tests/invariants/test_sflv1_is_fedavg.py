"""Reference 6.1, invariant 1: SplitFedV1 is FedAvg on the unsplit model, to the last bit."""

from functools import cache

import pytest
import torch

from raysplit.models.femnist_cnn import femnist_cnn
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.scenario.scenario import Scenario
from raysplit.training.optimizers import Adam, Sgd
from raysplit.training.settings import FedOpt
from tests.invariants.plain_loop import OPTIMIZERS, federated
from tests.toys import Played, ToyClients, ToyCnn, distance, play, toy

CUTS = ["V1", "V2", "V3"]
PRECISIONS = ["float32", "float64"]
TOLERANCE = {"float32": 1e-6, "float64": 1e-13}
"""Of the plain loop, which adds the clients up in another order."""


def variant(
    protocol: TrainingProtocol, precision: str, optimizer: str, epochs: int, batch: int | None, cut: str = "V2"
) -> Scenario:
    return toy(
        protocol,
        cut,
        clients=5,
        training__precision=precision,
        training__optimizer=OPTIMIZERS[optimizer][0],
        training__local_epochs=epochs,
        training__batch_size=batch,
        training__rounds=3,
        training__lr=0.01,
    )


@cache
def fedavg(precision: str, optimizer: str, epochs: int, batch: int | None) -> Played:
    return play(variant(FedAvg(), precision, optimizer, epochs, batch))


@pytest.mark.parametrize("batch", [None, 4])
@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_sflv1_equals_fedavg_on_the_unsplit_model(precision, cut, optimizer, epochs, batch):
    whole = fedavg(precision, optimizer, epochs, batch)
    split = play(variant(SplitFedV1(), precision, optimizer, epochs, batch, cut))

    sizes = split.tables["clients"].column("samples").to_pylist()
    assert len(set(sizes)) > 1, "the sample weights must be unequal, or the test proves little"
    assert distance(split.named, split.layout.named(split.layout.initial())) > 1e-3, "it must have trained"
    assert distance(split.named, whole.named) == 0
    assert split.digest == whole.digest


@pytest.mark.parametrize("batch", [None, 4])
@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_fedavg_equals_a_plain_loop_up_to_the_order_of_the_sum(precision, optimizer, epochs, batch):
    played = fedavg(precision, optimizer, epochs, batch)
    plain = federated(variant(FedAvg(), precision, optimizer, epochs, batch), OPTIMIZERS[optimizer][1])
    assert distance(played.named, plain) <= TOLERANCE[precision]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_sflv1_equals_fedavg_on_the_femnist_network(precision, cut):
    changes = {
        "population": ToyClients(3, shape=(1, 28, 28), classes=62),
        "model": femnist_cnn(cut),
        "training__precision": precision,
    }
    whole = play(toy(FedAvg(), clients=3, **changes))
    split = play(toy(SplitFedV1(), clients=3, **changes))
    plain = federated(
        toy(FedAvg(), clients=3, **changes), lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9, weight_decay=1e-3)
    )
    assert distance(split.named, whole.named) == 0
    assert distance(split.named, plain) <= TOLERANCE[precision]


@pytest.mark.parametrize(
    "aggregate", [FedOpt(Sgd(momentum=0.9), lr=0.7), FedOpt(Adam(), lr=0.01)], ids=["avgm", "adam"]
)
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_sflv1_equals_fedavg_when_an_optimiser_steps_on_the_aggregate(precision, cut, aggregate):
    changes = {"training__aggregate": aggregate, "training__precision": precision, "training__rounds": 3}
    whole = play(toy(FedAvg(), **changes))
    split = play(toy(SplitFedV1(), cut, **changes))
    assert distance(split.named, whole.named) == 0
    assert distance(split.named, play(toy(SplitFedV1(), cut, training__precision=precision)).named) > 1e-3


@pytest.mark.parametrize("cut", CUTS)
def test_plain_averaging_is_fedopt_with_sgd_of_rate_one(cut):
    averaged = play(toy(SplitFedV1(), cut, training__precision="float64"))
    stepped = play(toy(SplitFedV1(), cut, training__precision="float64", training__aggregate=FedOpt()))
    assert distance(averaged.named, stepped.named) < 1e-15


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_sflv1_equals_fedavg_however_the_cohort_is_grouped(cut, groups):
    assert play(toy(SplitFedV1(), cut, groups=groups)).digest == play(toy(FedAvg(), groups=groups)).digest


@pytest.mark.parametrize("cut", CUTS)
def test_sflv1_equals_fedavg_with_batch_norm_on_both_sides(cut):
    whole = play(toy(FedAvg(), model=ToyCnn(cut, batch_norm=True)))
    split = play(toy(SplitFedV1(), model=ToyCnn(cut, batch_norm=True)))
    assert distance(split.named, whole.named) == 0


@pytest.mark.parametrize("tail", ["conv2", "fc1", "fc2"])
def test_u_shaped_sflv1_equals_fedavg_too(tail):
    assert play(toy(SplitFedV1(u_shaped=True), "V1", tail)).digest == play(toy(FedAvg())).digest
