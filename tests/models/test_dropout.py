"""Dropout with named masks: the same step drops the same units wherever it is played."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from raysplit.engine.engine import EngineCounts
from raysplit.engine.evaluator import evaluation_chunks
from raysplit.engine.host import Host
from raysplit.engine.local import LocalEngine
from raysplit.models.dropout import SeededDropout, seed_dropout
from raysplit.models.keyed import key_layers, keyed_layers_in
from raysplit.models.network import build
from raysplit.protocols.centralized import Centralized
from raysplit.protocols.cycle_sl import CycleSfl
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.minibatch_sfl import MiniBatchSfl
from raysplit.protocols.outcome import ClientScores, Outcome
from raysplit.protocols.sglr import Sglr
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.training.links import DirectLink
from raysplit.training.servers.replica_server import ReplicaServer
from tests.models.dropouts import DropoutCnn
from tests.toys import ToyClients, distance, play, toy


def run(protocol, cut="V2", tail=None, engine=None, p=0.4, **changes):
    scenario = toy(protocol, model=DropoutCnn(cut, tail, p), **changes)
    return play(scenario, engine(scenario) if engine else None)


class TwoHosts:
    """Client groups dealt to two hosts in one process, in turns or one after another; ``pooled`` ones meet apart from
    the server."""

    def __init__(self, scenario, deal, ahead=0):
        self.hosts = [Host(scenario), Host(scenario)]
        self.server = Host(scenario)
        self.deal, self.ahead = deal, ahead

    shards = 1

    def describe(self):
        return {"engine": "two hosts"}

    def train(self, plan, start):
        groups = range(len(plan.groups))
        shares = [[g for g in groups if self.deal(g) == side] for side in (0, 1)]
        outcome = Outcome()
        for host, share in zip(self.hosts, shares, strict=True):
            if not share:
                continue
            if not self.ahead:
                outcome.merge(host.train(plan, share, start))
                continue
            slots = self.server.server_slots(self.ahead)
            _, end = self.server.ends(plan, start)
            kept = start.memory.get("server/optimizer")
            server = ReplicaServer(plan, slots, start.server, kept, share, end)
            outcome.merge(host.train_pooled(plan, share, start, DirectLink(server, end), self.ahead))
            outcome.crossed(end.traffic)
            outcome.server_sums.update(server.result().sums)
        return outcome

    def evaluate(self, clients, *portions):
        chunks = evaluation_chunks(clients)
        return ClientScores.joined([self.hosts[-1].evaluate(chunk, *portions) for chunk in chunks])

    def counts(self):
        return EngineCounts(0, 0, 0)

    def close(self):
        pass


@pytest.mark.parametrize("cut", ["V1", "V2", "V3"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_sflv1_with_dropout_is_fedavg_for_every_cut(cut, precision):
    changes = {"training__local_epochs": 2, "training__precision": precision}
    whole, split = run(FedAvg(), **changes), run(SplitFedV1(), cut, **changes)
    assert distance(whole.named, split.named) == 0 and whole.digest == split.digest
    assert whole.tables["evaluations"].column("loss") == split.tables["evaluations"].column("loss")


@pytest.mark.parametrize("tail", ["conv2", "fc1"])
def test_u_shaped_sflv1_with_dropout_is_fedavg(tail):
    assert run(SplitFedV1(u_shaped=True), "V1", tail).digest == run(FedAvg()).digest


@pytest.mark.parametrize(
    "protocol,tail", [(FedAvg(), None), (SplitFedV1(), None), (SplitFedV1(u_shaped=True), "fc1")], ids=repr
)
@pytest.mark.parametrize("deal", [lambda g: g % 2, lambda g: int(g > 0), lambda g: 0], ids=["turns", "one", "all"])
def test_who_hosts_a_client_changes_no_mask(protocol, tail, deal):
    alone = run(protocol, "V1", tail)
    assert run(protocol, "V1", tail, lambda scenario: TwoHosts(scenario, deal)).digest == alone.digest


@pytest.mark.parametrize("ahead", [1, 2, 3])
@pytest.mark.parametrize("u_shaped", [False, True])
def test_steps_under_way_at_a_server_apart_change_no_mask(ahead, u_shaped):
    protocol = SplitFedV1(u_shaped=u_shaped)
    apart = run(protocol, "V1", "fc1", lambda scenario: TwoHosts(scenario, lambda g: g % 2, ahead))
    assert apart.digest == run(protocol, "V1", "fc1").digest


@pytest.mark.parametrize(
    "protocol,tail",
    [
        (FedAvg(), None),
        (SplitLearning(), None),
        (SplitFedV1(), None),
        (SplitFedV2(), None),
        (SplitFedV2(u_shaped=True), "fc1"),
        (SplitFedV1(reading="accumulated"), None),
        (MiniBatchSfl(), None),
        (MiniBatchSfl(u_shaped=True), "fc1"),
        (Sglr(synchronise=True), None),
    ],
    ids=repr,
)
def test_with_one_client_every_protocol_with_dropout_is_centralised_training(protocol, tail):
    one = {
        "clients": 1,
        "population": ToyClients(1, smallest=11),
        "training__client_state": "fresh",
        "training__server_state": "fresh",
    }
    central = run(Centralized(), **{key: value for key, value in one.items() if key != "training__server_state"})
    assert run(protocol, "V1", tail, **one).digest == central.digest


def test_a_server_that_trains_first_has_masks_of_its_own():
    first, again = run(CycleSfl(), "V1"), run(CycleSfl(), "V1")
    assert first.digest == again.digest
    assert distance(first.named, run(CycleSfl(), "V1", p=0.0).named) > 1e-3


def test_engines_in_one_process_do_not_disturb_each_other():
    scenario = toy(SplitFedV2(), model=DropoutCnn())
    first = play(scenario)
    torch.rand(17)
    np.random.default_rng().random(3)
    assert play(scenario, LocalEngine(scenario)).digest == first.digest


def test_dropout_matters_and_so_does_the_seed():
    dropped, whole, other = run(FedAvg()), run(FedAvg(), p=0.0), run(FedAvg(), seed=43)
    assert distance(dropped.named, whole.named) > 1e-3
    first, second = (network_after_one_step(seed) for seed in (1, 2))
    assert not first.equal(second)
    assert dropped.digest != other.digest


def network_after_one_step(seed):
    layer = SeededDropout(0.5, 0)
    key_layers([layer], seed, 1, 2, 3)
    return layer(torch.ones(4, 100))


def layer_with(**changes):
    layer = SeededDropout(0.5, changes.pop("number", 0))
    key_layers([layer], **{"seed": 1, "round": 1, "client": 2, "step": 3, **changes})
    return layer


def test_every_part_of_the_name_changes_the_mask():
    x = torch.ones(2, 500)
    masks = [
        layer_with(**change)(x) for change in ({}, {"seed": 2}, {"round": 2}, {"client": 3}, {"step": 4}, {"number": 1})
    ]
    again = layer_with()
    masks.append((again(x), again(x))[1])  # the same layer used twice in a step
    assert again.training and layer_with()(x).equal(masks[0])
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) == len(masks)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_a_unit_is_dropped_with_probability_p_and_the_mean_is_kept(p):
    layer = SeededDropout(p, 0)
    key_layers([layer], 1, 1, 1, 1)
    x = torch.ones(200, 1000, dtype=torch.float64)
    y = layer(x)
    assert set(y.unique().tolist()) == {0.0, 1 / (1 - p)}
    deviation = math.sqrt(p * (1 - p) / x.numel())
    assert abs(float((y == 0).double().mean()) - p) < 5 * deviation
    assert abs(float(y.mean()) - 1) < 5 * deviation / (1 - p)


def test_dropout_2d_drops_whole_channels():
    network = nn.Sequential(nn.Dropout2d(0.5))
    seed_dropout(network)
    key_layers(keyed_layers_in([network]), 1, 1, 1, 1)
    y = network(torch.ones(8, 16, 5, 5))
    assert (y.flatten(2).std(2) == 0).all() and 0 < float((y == 0).double().mean()) < 1


def test_dropping_everything_gives_zeros():
    assert not layer_with_p(1.0)(torch.ones(3, 4)).any()


def layer_with_p(p):
    layer = SeededDropout(p, 0)
    key_layers([layer], 1, 1, 1, 1)
    return layer


def test_evaluation_drops_nothing():
    network = build(DropoutCnn(), 42).eval()
    plain = build(DropoutCnn(p=0.0), 42).eval()
    x = torch.rand(3, 1, 8, 8)
    assert network(x).equal(plain(x)) and network(x).equal(network(x))


def test_a_layer_that_nobody_keyed_says_so():
    with pytest.raises(RuntimeError, match="whose step"):
        build(DropoutCnn(), 42)(torch.rand(3, 1, 8, 8))


def test_layers_are_numbered_over_the_whole_network_and_shared_ones_once():
    network = build(DropoutCnn(), 42)
    assert [layer.number for layer in keyed_layers_in([network])] == [0, 1, 2, 3]
    assert keyed_layers_in([build(DropoutCnn(p=0.0), 42)]) == []
    shared = nn.Dropout(0.5)
    twice = nn.Sequential(shared, nn.Linear(2, 2), shared)
    seed_dropout(twice)
    assert twice[0] is twice[2] and len(keyed_layers_in([twice])) == 1
