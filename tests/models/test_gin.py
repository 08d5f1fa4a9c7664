"""GIN on packed graphs against a GIN written as message passing, and what of a graph crosses the wire."""

import numpy as np
import pytest
import torch

from raysplit.channels.channel import Channel
from raysplit.channels.hooks import MessageHook
from raysplit.errors import ScenarioError
from raysplit.models.gin import gin
from raysplit.models.network import build, cut
from raysplit.protocols.cycle_sl import CycleSfl
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.sglr import Sglr
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from tests.models.graphs import Graph, GraphClients, batch, plain_gin, random_graph
from tests.toys import play, toy


def graphs(count=9, most=19, labels=3, seed=0):
    rng = np.random.default_rng(seed)
    return [random_graph(rng, most, labels) for _ in range(count)]


@pytest.mark.parametrize("nodes", [19, 24, 40])
@pytest.mark.parametrize("labels", [3, 0])
@pytest.mark.parametrize("layers", [2, 5])
def test_gin_is_message_passing(layers, labels, nodes):
    """In float64, so that agreement to 1e-9 leaves no doubt; outputs and the gradient of every weight."""
    some = graphs(labels=labels)
    spec = gin(nodes, labels, 4, layers=layers, hidden=8, dropout=0.0, degree_cap=5)
    network = build(spec, 42, torch.float64)
    ours = network(batch(some, nodes).double())
    by_plain_gin = plain_gin(network, some, labels, 5)
    torch.testing.assert_close(ours, by_plain_gin, rtol=1e-9, atol=1e-9)
    weights = list(network.parameters())
    for one, other in zip(
        *(torch.autograd.grad(scores.square().sum(), weights) for scores in (ours, by_plain_gin)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-7)


def test_gin_is_message_passing_in_single_precision():
    some = graphs()
    network = build(gin(19, 3, 2, dropout=0.0), 42)
    torch.testing.assert_close(network(batch(some, 19)), plain_gin(network, some, 3, 64), rtol=1e-4, atol=1e-5)


def test_many_graphs_are_unpacked_piece_by_piece_with_the_same_result():
    some = graphs(150)
    network = build(gin(19, 3, 2, hidden=8, dropout=0.0), 1).eval()
    together = network(batch(some, 19))
    apart = torch.cat([network(batch([graph], 19)) for graph in some])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-4)


def test_padding_changes_nothing():
    some = graphs()
    small, large = (build(gin(nodes, 3, 2, hidden=8, dropout=0.0), 1) for nodes in (19, 61))
    assert small(batch(some, 19)).equal(large(batch(some, 61)))


def test_a_loop_in_the_data_is_the_same_as_none():
    looped = batch([Graph([0, 1, 2], [(0, 1), (1, 2)])], 3)
    plain = looped.clone()
    looped[0, 0, 1, 0] += 0b01000000
    for labels in (3, 0):
        network = build(gin(3, labels, 2, hidden=8, dropout=0.0), 1).eval()
        assert network(looped).equal(network(plain))


def test_what_crosses_the_wire_is_features_structure_and_scores():
    some = [Graph([0, 2], [(0, 1)]), Graph([1, 1, 0], [(0, 1), (1, 2)])]
    spec = gin(40, 3, 2, cut="layer1", dropout=0.0)
    portions = cut(build(spec, 1), spec, split=True, u_shaped=False)
    z = portions.head(batch(some, 40))
    assert z.shape == (2, 4, 3 + 1)  # cropped to three nodes, plus the row of scores
    assert z[:, :3, :3].tolist() == [[[1, 0, 0], [0, 0, 1], [0, 0, 0]], [[0, 1, 0], [0, 1, 0], [1, 0, 0]]]
    assert z[:, :3, 3].tolist() == [[0b11000000, 0b11000000, 0], [0b11000000, 0b11100000, 0b01100000]]
    readout = portions.head.graph.readout.linear
    expected = z[:, :3, :3].sum(1) @ readout.weight.T + readout.bias
    torch.testing.assert_close(z[:, 3, :2], expected)
    assert not z[:, 3, 2:].any()


@pytest.mark.parametrize("cut_name", ["layer1", "layer2", "layer4"])
def test_structure_and_filling_have_no_gradient(cut_name):
    spec = gin(19, 3, 2, cut=cut_name, hidden=8, dropout=0.0)
    portions = cut(build(spec, 1), spec, split=True, u_shaped=False)
    z = portions.head(batch(graphs(), 19)).detach().requires_grad_()
    portions.body(z).square().sum().backward()
    features = 3 if cut_name == "layer1" else 8
    n = z.shape[1] - 1
    assert z.grad[:, :n, :features].any() and z.grad[:, n, :2].all()
    assert not z.grad[:, :n, features:].any() and not z.grad[:, n, 2:].any()


def test_more_classes_than_a_node_has_features_still_fit():
    network = build(gin(19, 1, 9, hidden=4, dropout=0.0), 1)
    assert network(batch(graphs(labels=1), 19)).shape == (9, 9)


def scenario(protocol, cut_name="layer2", tail=None, **changes):
    model = gin(11, 3, 2, cut=cut_name, tail=tail, hidden=6)
    images = toy(protocol, "V1", "fc1", clients=4, pixels="bytes", **changes)
    return images.replace(population=GraphClients(), model=model)


@pytest.mark.parametrize("cut_name,tail", [("layer1", None), ("layer2", None), ("layer4", None), ("layer2", "layer4")])
def test_sflv1_on_graphs_is_fedavg(cut_name, tail):
    split = play(scenario(SplitFedV1(u_shaped=tail is not None), cut_name, tail))
    assert split.digest == play(scenario(FedAvg())).digest


def test_graphs_can_be_learnt_split():
    learning = {"training__rounds": 30, "training__lr": 0.01, "evaluation__every": 30}
    played = play(scenario(SplitFedV2(), "layer2", **learning))
    losses = played.tables["rounds"].column("train_loss").to_pylist()
    assert losses[-1] < 0.7 * losses[0]


def test_padded_tensors_give_the_same_scores():
    some = graphs()
    cropped, padded = (build(gin(40, 3, 2, hidden=8, dropout=0.0, padded=padded), 1) for padded in (False, True))
    x = batch(some, 40)
    assert padded.graph(x).shape == (9, 41, 3 + 5) and cropped.graph(x).shape[1] < 41
    torch.testing.assert_close(cropped(x), padded(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("protocol", [CycleSfl(), Sglr(synchronise=True)], ids=repr)
def test_protocols_that_put_smashed_data_together_need_padded_graphs(protocol):
    with pytest.raises(ScenarioError, match=r"puts the smashed data of many clients together, but Gin .*padded=True"):
        scenario(protocol)
    model = gin(11, 3, 2, cut="layer2", hidden=6, padded=True)
    images = toy(protocol, "V1", clients=4, pixels="bytes")
    assert not play(images.replace(population=GraphClients(), model=model)).diverged


class Listener(MessageHook):
    party = "clients"
    channels = frozenset({Channel.SMASHED})

    def __init__(self):
        self.seen = []

    def observe(self, message, labels):
        self.seen.append(message.tensor)


def test_bytes_reach_the_network_as_they_are():
    listener = Listener()
    play(scenario(SplitFedV1(), "layer1", training__rounds=1), hooks=(listener,))
    structure = [z[:, :-1, 3:] for z in listener.seen]
    assert structure and all(s.equal(s.round()) and s[:, 0, 0].ge(128).all() for s in structure)


def test_graphs_need_their_bytes():
    with pytest.raises(
        ScenarioError,
        match=r"reads packed graphs or texts byte by byte, but Scenario\.pixels is 'unit'; use pixels='bytes'",
    ):
        toy(FedAvg(), clients=4, population=GraphClients(), model=gin(11, 3, 2))


def test_a_label_that_the_model_was_not_told_of_is_named():
    network = build(gin(19, 2, 2), 1).eval()
    with pytest.raises(
        ScenarioError, match=r"a node has the label 2, but the model was told of 2 labels, 0 to 1; set Gin.labels"
    ):
        network(batch([Graph([0, 2], [(0, 1)])], 19))


@pytest.mark.parametrize(
    "options,sentence",
    [
        ({"labels": 300}, "Gin.labels must be at least 0 and at most 255"),
        ({"layers": 1}, "Gin.layers must be at least 2"),
        ({"nodes": 0}, "Gin.nodes must be at least 1"),
    ],
)
def test_impossible_graphs_are_refused(options, sentence):
    with pytest.raises(ScenarioError, match=sentence):
        gin(**{"nodes": 5, "labels": 2, "classes": 2, **options})
