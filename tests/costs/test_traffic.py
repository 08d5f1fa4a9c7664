"""Counted bytes are the predicted ones, to the byte, and those are Table 2 of Thapa et al."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysplit.channels.channel import Channel
from raysplit.costs.portions import cut_costs
from raysplit.costs.thapa2022 import Setting, fl, second_cut, sflv1, sflv2, sl
from raysplit.costs.traffic import batch_sizes, client_bytes, predicted_bytes
from raysplit.models.femnist_cnn import femnist_cnn
from raysplit.protocols.batching import Batching
from raysplit.protocols.centralized import Centralized
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.training.optimizers import Adam, Sgd
from tests.costs.plans import plan_of
from tests.toys import ToyClients, ToyCnn, play, toy

PROTOCOLS = [
    Centralized(),
    FedAvg(),
    SplitLearning(),
    SplitLearning("peer_to_peer", "fixed"),
    SplitLearning(u_shaped=True),
    SplitFedV1(),
    SplitFedV1(u_shaped=True),
    SplitFedV2(),
    SplitFedV2("client_major"),
    SplitFedV2(u_shaped=True),
]


def named(value):
    """A name without an address, alike in every process."""
    return getattr(value, "__name__", None) or repr(value)


def assert_as_counted(scenario):
    played = play(scenario)
    for round in range(1, scenario.training.rounds + 1):
        plan = plan_of(scenario, round)
        predicted = predicted_bytes(scenario, plan)
        assert {c.value: b.tensors for c, b in predicted.items()} == played.bytes_on(round)
        assert {c.value: b.messages for c, b in predicted.items()} == played.messages_on(round)
        assert {c.value: b.labels for c, b in predicted.items() if b.labels} == played.label_bytes_on(round)
        moved = sum(b.tensors + b.labels for c, b in predicted.items() if c is not Channel.SERVER_UPDATES)
        ends = sum(up + down for up, down in client_bytes(scenario, plan))
        peer_to_peer = scenario.protocol.handover == "peer_to_peer"
        assert ends == moved + (predicted[Channel.HANDOVER].tensors if peer_to_peer else 0)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=named)
@pytest.mark.parametrize(("cut", "tail"), [("V1", "conv2"), ("V1", "fc1"), ("V2", "fc2")])
def test_every_protocol_is_counted_as_predicted(protocol, cut, tail):
    assert_as_counted(toy(protocol, cut, tail if protocol.u_shaped else None))


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=named)
def test_buffers_double_precision_epochs_and_odd_batches_too(protocol):
    model = ToyCnn("V1", "fc1", batch_norm=True) if protocol.u_shaped else ToyCnn("V1", batch_norm=True)
    changes = {"training__precision": "float64", "training__local_epochs": 2, "cohort__size": 4}
    assert_as_counted(toy(protocol, model=model, population=ToyClients(9, smallest=4), **changes))


@pytest.mark.parametrize("optimizer", [Sgd(), Sgd(momentum=0.9), Adam()], ids=named)
@pytest.mark.parametrize("handover", ["central", "peer_to_peer"])
def test_optimiser_state_that_travels_is_paid_for(handover, optimizer):
    changes = {"training__client_state": "travels", "training__optimizer": optimizer}
    assert_as_counted(toy(SplitLearning(handover), **changes))
    assert_as_counted(toy(SplitLearning(handover, u_shaped=True), "V1", "fc1", **changes))


@settings(max_examples=25, deadline=None)
@given(
    protocol=st.sampled_from(PROTOCOLS),
    clients=st.integers(1, 5),
    batch=st.one_of(st.none(), st.integers(1, 9)),
    epochs=st.integers(1, 2),
    smallest=st.integers(1, 6),
)
def test_any_sizes_are_counted_as_predicted(protocol, clients, batch, epochs, smallest):
    changes = {"training__batch_size": batch, "training__local_epochs": epochs, "training__rounds": 1}
    population = ToyClients(clients, smallest=smallest)
    tail = "fc1" if protocol.u_shaped else None
    assert_as_counted(toy(protocol, "V1", tail, clients=clients, population=population, **changes))


WHOLE = 848_382
CLIENT = {"V1": 416, "V2": 13_248, "V3": 816_576}
Q = {"V1": 16 * 14 * 14, "V2": 32 * 7 * 7, "V3": 512}
K = 4


def table_two(protocol, cut, tail=None):
    """What a round counted on a FEMNIST network, and the paper's row for it."""
    population = ToyClients(K, shape=(1, 28, 28), classes=62)
    scenario = toy(protocol, clients=K, population=population, model=femnist_cnn(cut, tail), training__rounds=1)
    p = int(population.open().train_sizes(np.arange(K)).sum())
    client = CLIENT[cut] + (0 if tail is None else WHOLE - CLIENT["V2"] if tail == "conv2" else 512 * 62 + 62)
    return play(scenario), Setting(p, Q[cut], Fraction(client, WHOLE), WHOLE, K)


@pytest.mark.parametrize(
    ("protocol", "row"), [(SplitLearning(), sl), (SplitFedV1(), sflv1), (SplitFedV2(), sflv2)], ids=named
)
@pytest.mark.parametrize("cut", CLIENT)
def test_split_protocols_cost_table_two_and_labels_apart(cut, protocol, row):
    played, setting = table_two(protocol, cut)
    sent = played.bytes_on()
    replicas = sent.pop("server_updates", 0)
    assert sum(sent.values()) == 4 * row(setting).total
    assert played.label_bytes_on() == {"smashed": 8 * setting.p}
    # In the main server's datacentre, and so not in the table: a replica a client.
    assert replicas == (4 * K * (WHOLE - CLIENT[cut]) if isinstance(protocol, SplitFedV1) else 0)


@pytest.mark.parametrize("cut", CLIENT)
def test_federated_averaging_costs_table_two_whatever_the_cut(cut):
    played, setting = table_two(FedAvg(), cut)
    assert sum(played.bytes_on().values()) == 4 * fl(setting).total
    assert played.label_bytes_on() == {}


@pytest.mark.parametrize(
    ("protocol", "row"),
    [(SplitLearning(u_shaped=True), sl), (SplitFedV1(u_shaped=True), sflv1), (SplitFedV2(u_shaped=True), sflv2)],
    ids=named,
)
@pytest.mark.parametrize(("cut", "tail"), [("V1", "conv2"), ("V1", "fc1"), ("V2", "fc1")])
def test_a_u_shape_costs_its_second_cut_too_and_sends_no_label(cut, tail, protocol, row):
    played, setting = table_two(protocol, cut, tail)
    sent = played.bytes_on()
    sent.pop("server_updates", 0)
    second = second_cut(setting, {"conv2": Q["V2"], "fc1": Q["V3"]}[tail], in_turn=protocol.client_sync == "handover")
    assert sum(sent.values()) == 4 * (row(setting).total + second.total)
    assert played.label_bytes_on() == {}


@given(st.integers(1, 50), st.one_of(st.none(), st.integers(1, 60)), st.integers(1, 3))
def test_batches_are_those_that_a_client_takes(samples, batch, epochs):
    sizes = batch_sizes(samples, Batching(batch), epochs)
    assert sizes.sum() == samples * epochs and (sizes > 0).all()
    assert len(sizes) == epochs * Batching(batch).steps(samples)


def test_where_the_model_is_cut_moves_no_float():
    for cut in ("V1", "V2", "V3"):
        costs = cut_costs(toy(SplitFedV2(), cut))
        assert costs.head.floats + costs.body.floats + costs.tail.floats == 301
