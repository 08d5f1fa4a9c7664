"""Reference 6.1, invariants 3, 4 and 5: hand-over, SplitFedV2 against a frozen server, U-shapes and the order of
clients."""

import pytest

from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from tests.invariants.plain_loop import OPTIMIZERS, federated
from tests.toys import ToyClients, distance, play, toy

SERVER_STAGES = {"V1": ("conv2", "fc1", "fc2"), "V2": ("fc1", "fc2"), "V3": ("fc2",)}
SHUFFLED = (3, 0, 5, 1, 4, 2)


@pytest.mark.parametrize("u_shaped", [False, True])
@pytest.mark.parametrize("cut", ["V1", "V2"])
def test_both_hand_overs_give_the_same_weights_and_one_costs_twice_the_other(cut, u_shaped):
    shape = {"cut": cut, "tail": "fc1" if u_shaped else None, "training__rounds": 3}
    central = play(toy(SplitLearning("central", u_shaped=u_shaped), **shape))
    direct = play(toy(SplitLearning("peer_to_peer", u_shaped=u_shaped), **shape))
    assert central.digest == direct.digest
    for round in (1, 2, 3):
        assert central.bytes_on(round)["handover"] == 2 * direct.bytes_on(round)["handover"] > 0
        assert central.messages_on(round)["handover"] == 2 * direct.messages_on(round)["handover"] == 12


def test_the_state_that_travels_with_a_hand_over_is_counted():
    """Momentum is as long as the portion: with it a hop costs twice as much."""
    alone = play(toy(SplitLearning(), training__client_state="fresh"))
    loaded = play(toy(SplitLearning(), training__client_state="travels"))
    assert loaded.bytes_on()["handover"] == 2 * alone.bytes_on()["handover"]
    assert loaded.digest != alone.digest


def test_a_random_ring_is_drawn_anew_and_differs_from_a_fixed_one():
    assert play(toy(SplitLearning(ring="random"))).digest != play(toy(SplitLearning(ring="fixed"))).digest


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("order", ["interleaved", "client_major"])
@pytest.mark.parametrize("cut", SERVER_STAGES)
def test_sflv2_with_server_rate_0_is_fedavg_of_client_portions_against_a_frozen_server(cut, order, epochs, optimizer):
    spec, make = OPTIMIZERS[optimizer]
    changes = {
        "training__optimizer": spec,
        "training__local_epochs": epochs,
        "training__precision": "float64",
        "training__lr": 0.02,
        "training__rounds": 3,
    }
    frozen = toy(SplitFedV2(order), cut, training__server_lr=0, **changes)
    played = play(frozen)
    plain = federated(frozen, make, frozen=SERVER_STAGES[cut])
    initial = played.layout.named(played.layout.initial())
    assert distance(played.named, plain) < 1e-12, "up to the order of the sum"
    assert distance(played.named, initial) > 1e-3, "the client portion must have trained"
    for name, tensor in played.named.items():
        if name.startswith(SERVER_STAGES[cut]):
            assert tensor.equal(initial[name])


@pytest.mark.parametrize("order", ["interleaved", "client_major"])
def test_sflv2_with_a_server_that_learns_is_not_fedavg(order):
    assert distance(play(toy(SplitFedV2(order))).named, play(toy(FedAvg())).named) > 1e-3


def test_the_two_orders_of_sflv2_differ():
    assert distance(play(toy(SplitFedV2("interleaved"))).named, play(toy(SplitFedV2("client_major"))).named) > 1e-4


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("cut", SERVER_STAGES)
@pytest.mark.parametrize(
    "protocol",
    [
        SplitFedV1,
        SplitFedV2,
        lambda u_shaped: SplitFedV2("client_major", u_shaped),
        lambda u_shaped: SplitLearning(u_shaped=u_shaped),
    ],
)
def test_a_u_shape_with_an_empty_tail_equals_the_shape_without(protocol, cut, precision):
    straight = play(toy(protocol(u_shaped=False), cut, training__precision=precision))
    bent = play(toy(protocol(u_shaped=True), cut, "fc2", training__precision=precision))
    assert bent.digest == straight.digest
    assert bent.tables["rounds"].column("train_loss") == straight.tables["rounds"].column("train_loss")


def permuted(protocol, tail=None):
    """Two runs on the same data, owned by other ids. Whole sets as batches, for the order of batches is a client's
    own."""
    changes = {"training__batch_size": None, "training__local_epochs": 2, "training__precision": "float64"}
    populations = [ToyClients(6), ToyClients(6, order=SHUFFLED)]
    return [play(toy(protocol, tail=tail, population=population, **changes)).named for population in populations]


@pytest.mark.parametrize("protocol,tail", [(SplitFedV1(), None), (SplitFedV1(u_shaped=True), "fc1")])
def test_permuting_clients_leaves_sflv1_unchanged_up_to_the_order_of_the_sum(protocol, tail):
    plain, shuffled = permuted(protocol, tail)
    assert distance(plain, shuffled) < 1e-15


@pytest.mark.parametrize("protocol", [SplitFedV2("interleaved"), SplitFedV2("client_major"), SplitLearning()])
def test_permuting_clients_changes_protocols_with_a_shared_server(protocol):
    plain, shuffled = permuted(protocol)
    assert distance(plain, shuffled) > 1e-5
