"""Reference 6.1, invariant 2: with one client every protocol is centralised training, to the last bit."""

import pytest

from raysplit.protocols.centralized import Centralized
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.minibatch_sfl import MiniBatchSfl
from raysplit.protocols.sglr import Sglr
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from tests.invariants.plain_loop import OPTIMIZERS, alone
from tests.toys import ToyClients, distance, play, toy

PROTOCOLS = [
    (FedAvg(), "V2", None),
    (SplitLearning(), "V1", None),
    (SplitLearning(handover="peer_to_peer", ring="fixed"), "V3", None),
    (SplitLearning(u_shaped=True), "V1", "fc1"),
    (SplitFedV1(), "V2", None),
    (SplitFedV1(u_shaped=True), "V1", "conv2"),
    (SplitFedV2(), "V3", None),
    (SplitFedV2(order="client_major"), "V1", None),
    (SplitFedV2(u_shaped=True), "V2", "fc1"),
    (SplitFedV1(reading="accumulated"), "V2", None),
    (MiniBatchSfl(), "V1", None),
    (MiniBatchSfl(u_shaped=True), "V1", "fc1"),
    (Sglr(synchronise=True), "V2", None),
]
NAMES = [f"{type(p).__name__}-{cut}-{tail}" for p, cut, tail in PROTOCOLS]


def one_client(protocol, cut, tail, precision, optimizer, **changes):
    return toy(
        protocol,
        cut,
        tail,
        clients=1,
        population=ToyClients(1, smallest=11),
        training__rounds=3,
        training__local_epochs=2,
        training__precision=precision,
        training__optimizer=OPTIMIZERS[optimizer][0],
        **changes,
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("protocol,cut,tail", PROTOCOLS, ids=NAMES)
def test_with_one_client_every_protocol_is_a_plain_loop(protocol, cut, tail, precision, optimizer):
    fresh = {"training__client_state": "fresh", "training__server_state": "fresh"}
    played = play(one_client(protocol, cut, tail, precision, optimizer, **fresh))
    central = play(one_client(Centralized(), None, None, precision, optimizer, training__client_state="fresh"))
    assert played.digest == central.digest
    assert (
        distance(
            played.named,
            alone(one_client(Centralized(), None, None, precision, optimizer), OPTIMIZERS[optimizer][1], True),
        )
        == 0
    )


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("protocol,cut,tail", [p for p in PROTOCOLS if not isinstance(p[0], SplitFedV1)])
def test_with_one_client_whose_optimisers_are_kept_every_protocol_is_a_plain_loop(
    protocol, cut, tail, precision, optimizer
):
    kept = {"training__client_state": "per_client", "training__server_state": "persistent"}
    played = play(one_client(protocol, cut, tail, precision, optimizer, **kept))
    central = one_client(Centralized(), None, None, precision, optimizer)
    assert played.digest == play(central).digest
    assert distance(played.named, alone(central, OPTIMIZERS[optimizer][1], fresh=False)) == 0
    assert distance(played.named, alone(central, OPTIMIZERS[optimizer][1], fresh=True)) > 1e-4


def test_centralised_training_on_many_clients_is_one_client_that_owns_all_samples():
    """Whole sets as batches, because the order of batches is a client's own."""
    many = play(toy(Centralized(), None, training__batch_size=None, training__rounds=3))
    assert many.tables["clients"].column("client").to_pylist() == [0, 0, 0]
    assert many.tables["clients"].column("samples").to_pylist() == [sum(3 + 7 * k % 11 for k in range(6))] * 3
    # one full-batch step on the union = the n_k/n-weighted mean of the clients' steps: FedAvg with E = 1
    plain = {
        "training__batch_size": None,
        "training__precision": "float64",
        "training__optimizer": OPTIMIZERS["sgd"][0],
    }
    assert distance(play(toy(Centralized(), None, **plain)).named, play(toy(FedAvg(), **plain)).named) < 1e-15
