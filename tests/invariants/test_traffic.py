"""Reference 6.1, invariant 7: counted bytes are Thapa et al.'s Table 2, times 4 bytes a float."""

import pytest

from raysplit.models.femnist_cnn import femnist_cnn
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from tests.toys import ToyClients, ToyCnn, play, toy

K = 4
P = sum(3 + 7 * k % 11 for k in range(K))
WHOLE = 848_382
CLIENT = {"V1": 416, "V2": 13_248, "V3": 816_576}
Q = {"V1": 16 * 14 * 14, "V2": 32 * 7 * 7, "V3": 512}
FC2 = 512 * 62 + 62


def femnist(protocol, cut="V2", tail=None, **changes):
    population = ToyClients(K, shape=(1, 28, 28), classes=62)
    model = femnist_cnn(cut, tail)
    return play(toy(protocol, cut, tail, clients=K, population=population, model=model, training__rounds=1, **changes))


@pytest.mark.parametrize(
    "protocol", [SplitLearning(), SplitFedV1(), SplitFedV2(), SplitFedV2("client_major")], ids=repr
)
@pytest.mark.parametrize("cut", CLIENT)
def test_split_protocols_cost_2pq_for_the_cut_and_twice_the_client_portions(cut, protocol):
    played = femnist(protocol, cut)
    sent = played.bytes_on()
    assert sent["smashed"] == sent["cut_gradients"] == 4 * P * Q[cut]
    server_updates = sent.pop("server_updates", 0)
    assert sum(sent.values()) == 4 * (2 * P * Q[cut] + 2 * K * CLIENT[cut])
    assert played.label_bytes_on() == {"smashed": 8 * P}
    assert server_updates == (4 * K * (WHOLE - CLIENT[cut]) if isinstance(protocol, SplitFedV1) else 0)


def test_federated_averaging_costs_twice_the_model_a_client():
    played = femnist(FedAvg())
    assert played.bytes_on() == {"weights": 4 * K * WHOLE, "updates": 4 * K * WHOLE}
    assert played.messages_on() == {"weights": K, "updates": K}
    assert played.label_bytes_on() == {}


@pytest.mark.parametrize(
    "protocol", [SplitLearning(u_shaped=True), SplitFedV1(u_shaped=True), SplitFedV2(u_shaped=True)], ids=repr
)
@pytest.mark.parametrize("cut,tail", [("V1", "conv2"), ("V1", "fc1"), ("V2", "fc1")])
def test_a_u_shape_adds_2pq_of_its_second_cut_and_sends_no_label(cut, tail, protocol):
    second = {"conv2": Q["V2"], "fc1": Q["V3"]}[tail]
    client = CLIENT[cut] + {"conv2": WHOLE - CLIENT["V2"], "fc1": FC2}[tail]
    played = femnist(protocol, cut, tail)
    sent = played.bytes_on()
    assert sent["features"] == sent["feature_gradients"] == 4 * P * second
    server_updates = sent.pop("server_updates", 0)
    assert sum(sent.values()) == 4 * (2 * P * Q[cut] + 2 * P * second + 2 * K * client)
    assert played.label_bytes_on() == {}
    assert server_updates == (4 * K * (WHOLE - client) if isinstance(protocol, SplitFedV1) else 0)


def test_every_local_epoch_crosses_the_cut_again_but_weights_travel_once():
    once, thrice = play(toy(SplitFedV2())), play(toy(SplitFedV2(), training__local_epochs=3))
    assert thrice.bytes_on()["smashed"] == 3 * once.bytes_on()["smashed"]
    assert thrice.label_bytes_on()["smashed"] == 3 * once.label_bytes_on()["smashed"]
    assert thrice.bytes_on()["weights"] == once.bytes_on()["weights"]


def test_float64_costs_twice_float32_and_labels_stay_the_same():
    single, double = play(toy(SplitFedV2())), play(toy(SplitFedV2(), training__precision="float64"))
    assert double.bytes_on() == {channel: 2 * count for channel, count in single.bytes_on().items()}
    assert double.label_bytes_on() == single.label_bytes_on()


def test_buffers_of_batch_norm_travel_with_the_portion():
    """Running mean and variance of three channels, to each client and back."""
    plain, normed = play(toy(SplitFedV2(), "V1")), play(toy(SplitFedV2(), model=ToyCnn("V1", batch_norm=True)))
    for channel in ("weights", "updates"):
        assert normed.bytes_on()[channel] - plain.bytes_on()[channel] == 4 * 6 * (2 * 3 + 2 * 3)
