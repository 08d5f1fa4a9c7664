"""Vertically partitioned data, extended vanilla and multi-task: each against a hand-written loop on one network."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from raysplit import rng
from raysplit.aggregation.rules.median import Median
from raysplit.engine.placement import Resources, Wanted, lay_out
from raysplit.errors import ClusterError, ScenarioError
from raysplit.models.femnist_cnn import femnist_cnn
from raysplit.models.network import build
from raysplit.protocols.centralized import Centralized
from raysplit.protocols.extended_split import ExtendedSplit
from raysplit.protocols.joint import joint
from raysplit.protocols.multi_task_split import MultiTaskSplit, Task
from raysplit.protocols.vertical_split import VerticalSplit
from raysplit.scenario.layout import Layout
from raysplit.storage.checkpoints import read_checkpoint
from tests.invariants.plain_loop import OPTIMIZERS
from tests.toys import ToyCnn, distance, play, toy

TASKS = (Task("class"), Task("odd", labels=(0, 1, 0, 1, 0), weight=0.5), Task("high", (0, 0, 1, 1, 2), 2.0))
SAMPLES = sum(3 + 7 * k % 11 for k in range(6))
EXACT = {"training__precision": "float64", "training__rounds": 3, "training__local_epochs": 2}


def pooled(scenario):
    """The cohort's samples as one party sees them, and its batches of every round."""
    population = scenario.population.open()
    sets = [population.train(client) for client in range(scenario.cohort.size)]
    x, y = torch.cat([s.x for s in sets]), torch.cat([s.y for s in sets])
    pixels = (x.to(scenario.training.dtype) / 255).contiguous(memory_format=torch.channels_last)
    for round in range(1, scenario.training.rounds + 1):
        for epoch in range(scenario.training.local_epochs):
            order = torch.from_numpy(rng.stream(scenario.seed, "batches", round, 0, epoch).permutation(len(y)))
            for chosen in order.split(scenario.training.batch_size):
                yield pixels[chosen], y[chosen]


def floats(network):
    return [tensor for tensor in network.state_dict().values() if tensor.is_floating_point()]


def in_order(played):
    """The trained tensors, for networks whose stages have other names."""
    return list(played.named.values())


def parameters_first(network):
    """As ``Played.named`` lists a portion: parameters, then buffers."""
    buffers = [b for b in network.buffers() if b.is_floating_point()]
    return [*network.parameters(), *buffers]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(
    "protocol,tail",
    [
        (VerticalSplit(1), None),
        (ExtendedSplit(), "fc1"),
        (ExtendedSplit(), "conv2"),
        (MultiTaskSplit((Task("only"),)), None),
    ],
    ids=["vertical", "extended-fc1", "extended-conv2", "multi-task"],
)
def test_one_party_one_task_and_a_chain_are_centralised_training(protocol, tail, precision, optimizer):
    """Every bit, for the pooled data and the order of batches are the same."""
    changes = {
        **EXACT,
        "training__precision": precision,
        "training__optimizer": OPTIMIZERS[optimizer][0],
        "training__lr": 0.02,
    }
    changes["training__server_state"] = "persistent"
    split = play(toy(protocol, "V1", tail, **changes))
    whole = play(toy(Centralized(), "V1", **changes))
    assert len(in_order(split)) == len(in_order(whole))
    for one, other in zip(in_order(split), in_order(whole), strict=True):
        assert one.equal(other)
    for table in ("clients", "evaluations"):
        assert split.tables[table] == whole.tables[table]
    assert split.tables["rounds"].column("train_loss") == whole.tables["rounds"].column("train_loss")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("parties,along,cut", [(2, "width", "V1"), (2, "height", "V2"), (4, "width", "V1")])
def test_vertical_parties_are_one_network_of_several_heads(parties, along, cut, optimizer):
    spec, make = OPTIMIZERS[optimizer]
    model = ToyCnn(cut, batch_norm=optimizer != "adam")  # Adam makes whole steps of a gradient that is rounding alone
    scenario = toy(VerticalSplit(parties, along), model=model, **EXACT, training__optimizer=spec, training__lr=0.02)
    network = build(joint(model, scenario.protocol), scenario.seed, torch.float64)
    heads, body, axis = network[0].heads, network[1:], {"height": 2, "width": 3}[along]
    optimizers = [make(list(part.parameters()), 0.02) for part in (*heads, body)]
    for x, y in pooled(scenario):
        for each in optimizers:
            each.zero_grad()
        views = x.chunk(parties, dim=axis)
        z = torch.cat([head(view) for head, view in zip(heads, views, strict=True)], dim=axis)
        nn.functional.cross_entropy(body(z), y).backward()
        for each in optimizers:
            each.step()
    played = play(scenario)
    assert (
        max(float((played.named[n] - t).abs().max()) for n, t in network.state_dict().items() if n in played.named)
        < 1e-10
    )
    assert len(floats(network)) == len(played.named)
    weights = [head[0][0].weight for head in heads]
    assert not weights[0].equal(weights[1]), "each party has a head of its own"


def test_the_first_party_begins_as_the_models_own_head():
    start = build(joint(ToyCnn("V1"), VerticalSplit(2)), 42)
    plain = build(ToyCnn("V1"), 42)
    assert start[0].heads[0][0][0].weight.equal(plain[0][0].weight)
    assert not start[0].heads[1][0][0].weight.equal(plain[0][0].weight)
    for name, tensor in plain[1:].state_dict().items():
        assert start[1:].state_dict()[name].equal(tensor)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_tasks_are_one_network_of_several_tails(optimizer):
    spec, make = OPTIMIZERS[optimizer]
    scenario = toy(MultiTaskSplit(TASKS), "V2", **EXACT, training__optimizer=spec, training__lr=0.02)
    network = build(joint(scenario.model, scenario.protocol), scenario.seed, torch.float64)
    head, bodies = network[:2], network[2].bodies
    optimizers = [make(list(part.parameters()), 0.02) for part in (head, network[2])]
    labels = [torch.tensor(task.labels or range(5)) for task in TASKS]
    losses = []
    for x, y in pooled(scenario):
        for each in optimizers:
            each.zero_grad()
        z = head(x)
        parts = [
            task.weight * nn.functional.cross_entropy(body(z)[:, : int(of.max()) + 1], of[y])
            for task, body, of in zip(TASKS, bodies, labels, strict=True)
        ]
        loss = torch.stack(parts).sum()
        loss.backward()
        losses.append(float(loss.detach()) * len(y))
        for each in optimizers:
            each.step()
    played = play(scenario)
    assert max(float((played.named[n] - t).abs().max()) for n, t in network.state_dict().items()) < 1e-10
    third = losses[-len(losses) // 3 :]
    assert played.tables["rounds"].column("train_loss").to_pylist()[-1] == pytest.approx(sum(third) / SAMPLES / 2)


BATCHES = 2 * math.ceil(SAMPLES / 4)
Q = {"V1": 3 * 4 * 4, "V2": 4 * 2 * 2, "fc1": 7}


@pytest.mark.parametrize("parties", [1, 2])
def test_vertical_traffic_is_a_message_a_party_and_no_label(parties):
    played = play(toy(VerticalSplit(parties), "V1", training__local_epochs=2))
    load = 4 * 2 * SAMPLES * Q["V1"]
    assert played.bytes_on() == {"smashed": load, "cut_gradients": load}
    assert played.messages_on() == {"smashed": parties * BATCHES, "cut_gradients": parties * BATCHES}
    assert played.label_bytes_on() == {}


def test_extended_traffic_has_two_cuts():
    played = play(toy(ExtendedSplit(), "V1", "fc1", training__local_epochs=2))
    first, second = 4 * 2 * SAMPLES * Q["V1"], 4 * 2 * SAMPLES * Q["fc1"]
    expected = {"relayed": first, "smashed": second, "cut_gradients": second, "relay_gradients": first}
    assert played.bytes_on() == expected
    assert played.messages_on() == dict.fromkeys(expected, BATCHES)
    assert played.label_bytes_on() == {"smashed": 8 * 2 * SAMPLES}


def test_multi_task_traffic_is_a_message_a_server():
    played = play(toy(MultiTaskSplit(TASKS), "V2", training__local_epochs=2))
    load = 3 * 4 * 2 * SAMPLES * Q["V2"]
    assert played.bytes_on() == {"smashed": load, "cut_gradients": load}
    assert played.messages_on() == {"smashed": 3 * BATCHES, "cut_gradients": 3 * BATCHES}


CASES = {
    "vertical": toy(VerticalSplit(2), "V1", training__rounds=4),
    "extended": toy(ExtendedSplit(), "V1", "fc1", training__rounds=4),
    "multi-task": toy(MultiTaskSplit(TASKS), "V2", training__rounds=4),
}


@pytest.mark.parametrize("name", CASES)
def test_a_site_group_resumes_with_the_same_bits(name, tmp_path):
    scenario = CASES[name].replace(checkpoint_every=1)
    whole = play(scenario)
    short = scenario.replace(**{"training.rounds": 2})
    play(short, folder=tmp_path)
    state = read_checkpoint(tmp_path / "checkpoints" / "round-000002", Layout(scenario), short.hash)
    assert distance(play(scenario, start=state).named, whole.named) == 0


@pytest.mark.parametrize("name", CASES)
def test_a_site_group_runs_on_one_host_and_not_in_the_pool(name):
    layout = lay_out(CASES[name], Resources(16, 0), Wanted())
    assert (layout.hosts, layout.servers, layout.placement) == (1, 0, "colocated")
    with pytest.raises(ClusterError, match="are played by one host, beside their servers; use --placement colocated"):
        lay_out(CASES[name], Resources(16, 0), Wanted(placement="pooled"))


def test_channels_of_the_topologies():
    assert [c.value for c in ExtendedSplit().channels] == ["relayed", "smashed", "cut_gradients", "relay_gradients"]
    for protocol in (VerticalSplit(), MultiTaskSplit(TASKS)):
        assert [c.value for c in protocol.channels] == ["smashed", "cut_gradients"]


@pytest.mark.parametrize(
    "make,sentence",
    [
        (lambda: VerticalSplit(0), "VerticalSplit.parties must be at least 1"),
        (lambda: toy(VerticalSplit(9), "V1"), "cuts samples of width 8 among 9 parties; at most 8 get anything"),
        (lambda: toy(VerticalSplit(2), "V3"), "along the width of smashed data, but ToyCnn cut at 'V3' has none"),
        (
            lambda: toy(VerticalSplit(3), "V1"),
            r"make smashed data of \[3, 4, 3\], but ToyCnn's server portion behind 'V1'",
        ),
        (lambda: toy(ExtendedSplit(), "V1"), r"ExtendedSplit needs ToyCnn\(tail=…\)"),
        (
            lambda: toy(ExtendedSplit(), "V1", "fc2"),
            r"ToyCnn\(tail='fc2'\) leaves the server of ExtendedSplit no stage",
        ),
        (lambda: toy(ExtendedSplit(), "V2", "conv1"), "leaves the server no stage"),
        (lambda: MultiTaskSplit(()), "MultiTaskSplit needs one task or more, each with a name of its own"),
        (lambda: MultiTaskSplit((Task("a"), Task("a"))), "each with a name of its own"),
        (lambda: Task("a", (0, -1)), "Task.labels must be one label a class, from 0 on"),
        (lambda: toy(MultiTaskSplit((Task("a", (0, 1)),))), "ToyCnn needs 5, but there are 2"),
        (lambda: toy(VerticalSplit(2), "V1", defense=Median()), "has no updates channel; leave defense out"),
    ],
)
def test_what_does_not_fit_is_one_sentence(make, sentence):
    with pytest.raises(ScenarioError, match=sentence):
        make()


def test_the_femnist_network_bears_two_parties_behind_its_first_cut():
    with pytest.raises(ScenarioError, match="choose fewer parties or an earlier cut"):
        joint(femnist_cnn("V2"), VerticalSplit(2))
    network = build(joint(femnist_cnn("V1"), VerticalSplit(2)), 1)
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 62)
    assert np.isfinite(float(network(torch.zeros(2, 1, 28, 28)).sum().detach()))
