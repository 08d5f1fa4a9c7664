"""Buffered asynchronous SplitFed: a synchronous protocol where nobody is slower, and a hand-written event loop where
some are."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from raysplit import rng
from raysplit.aggregation.rules.median import Median
from raysplit.aggregation.rules.trimmed_mean import TrimmedMean
from raysplit.attacks.updates.sign_flip import SignFlip
from raysplit.errors import ScenarioError
from raysplit.models.network import build
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.buffered import BufferedSplitFed, Speeds
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.scenario.layout import Layout
from raysplit.storage.checkpoints import read_checkpoint
from raysplit.training.optimizers import Adam
from tests.toys import ToyCnn, play, toy

EQUAL = BufferedSplitFed(6, speeds=Speeds(0.0))


@pytest.mark.parametrize("cohort,clients", [(6, 6), (4, 9)])
@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("defense", [None, Median()])
def test_nobody_slower_and_a_buffer_for_all_is_splitfed_v2(cohort, clients, epochs, defense):
    changes = {"cohort": Cohort(cohort), "training__local_epochs": epochs, "model": ToyCnn("V2", batch_norm=True)}
    if defense is not None:
        changes["defense"] = defense
    one = play(toy(BufferedSplitFed(cohort, speeds=Speeds(0.0)), clients=clients, training__rounds=3, **changes))
    other = play(toy(SplitFedV2(), clients=clients, training__rounds=3, **changes))
    assert one.digest == other.digest
    for table in ("clients", "channels", "evaluations"):
        assert one.tables[table] == other.tables[table]


@pytest.mark.parametrize(
    "buffer,exponent,batch_norm", [(1, 0.5, False), (2, 0.0, False), (2, 1.5, True), (3, 0.5, False)]
)
def test_it_is_a_plain_event_loop(buffer, exponent, batch_norm):
    """Four clients under way all the time, everyone from the version at which it began, against one server that all
    share."""
    rounds, lr = 7, 0.05
    protocol = BufferedSplitFed(buffer, exponent, Speeds(1.0))
    scenario = toy(
        protocol,
        clients=4,
        model=ToyCnn("V2", batch_norm=batch_norm),
        training__rounds=rounds,
        training__precision="float64",
    )
    network = build(scenario.model, scenario.seed, torch.float64)
    fed, body = network[:2], network[2:]
    server = torch.optim.SGD(body.parameters(), lr, momentum=0.9, weight_decay=1e-3)
    population = scenario.population.open()
    data = [population.train(k) for k in range(4)]
    speed = [float(np.exp(rng.stream(scenario.seed, "speeds", k).standard_normal())) for k in range(4)]
    assert len(set(speed)) == 4

    def begin(k, round, now):
        head = copy.deepcopy(fed)
        samples = len(data[k].y)
        order = np.arange(samples)
        if samples > 4:
            order = rng.stream(scenario.seed, "batches", round, k, 0).permutation(samples)
        optimizer = torch.optim.SGD(head.parameters(), lr, momentum=0.9, weight_decay=1e-3)
        batches = [torch.from_numpy(order[i : i + 4]) for i in range(0, samples, 4)]
        return {"head": head, "optimizer": optimizer, "batches": batches, "since": round, "due": now + 1 / speed[k]}

    way = {k: begin(k, 1, 0.0) for k in range(4)}
    oldest = 0
    for round in range(1, rounds + 1):
        arrived = []
        while len(arrived) < buffer:
            k = min((k for k in way if k not in arrived), key=lambda k: way[k]["due"])
            turn = way[k]
            now = turn["due"]
            chosen = turn["batches"].pop(0)
            x = (data[k].x[chosen].double() / 255).contiguous(memory_format=torch.channels_last)
            turn["optimizer"].zero_grad()
            server.zero_grad()
            z = turn["head"](x)
            leaf = z.detach().requires_grad_()
            nn.functional.cross_entropy(body(leaf), data[k].y[chosen]).backward()
            server.step()
            z.backward(leaf.grad)
            turn["optimizer"].step()
            turn["due"] += 1 / speed[k]
            if not turn["batches"]:
                arrived.append(k)
        worth = {k: len(data[k].y) / (1 + round - way[k]["since"]) ** exponent for k in arrived}
        oldest = max(oldest, *(round - way[k]["since"] for k in arrived))
        states = {k: way[k]["head"].state_dict() for k in arrived}
        fed.load_state_dict(
            {
                name: sum(worth[k] * states[k][name] for k in arrived) / sum(worth.values())
                if tensor.is_floating_point()
                else tensor
                for name, tensor in fed.state_dict().items()
            }
        )
        for k in arrived:
            way[k] = begin(k, round + 1, now)
    assert oldest > 0, "somebody must be stale"
    played = play(scenario)
    plain = {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    assert max(float((played.named[name] - tensor).abs().max()) for name, tensor in plain.items()) < 1e-12


def test_traffic_is_what_begins_and_what_arrives():
    played = play(toy(BufferedSplitFed(2), clients=9, cohort=Cohort(4), training__rounds=6))
    began = [played.messages_on(round)["weights"] for round in range(1, 7)]
    assert [played.messages_on(round)["updates"] for round in range(1, 7)] == [2] * 6
    assert began[0] <= 4 and sum(began) >= sum([2] * 6)
    rows = played.tables["clients"].to_pylist()
    for round in range(1, 7):
        of_round = [row for row in rows if row["round"] == round]
        assert len(of_round) == 4 and len({row["client"] for row in of_round}) == 4
        assert played.messages_on(round)["smashed"] == sum(row["steps"] for row in of_round)
    smashed = sum(played.messages_on(round)["smashed"] for round in range(1, 7))
    assert 0 < smashed <= sum(math.ceil(row["samples"] / 4) for row in rows)


def test_a_rule_and_an_attack_see_those_who_arrived():
    changes = {"clients": 9, "cohort": Cohort(5, malicious=0.4, of="cohort"), "training__rounds": 5}
    played = play(toy(BufferedSplitFed(3), **changes, defense=Median(), attack=SignFlip()))
    assert played.tables["aggregation"].column("n").to_pylist() == [3] * 5
    actual = played.tables["aggregation"].column("actual").to_pylist()
    attacked = played.tables["rounds"].column("attacked").to_pylist()
    assert attacked == [count > 0 for count in actual] and any(attacked)
    norms = [row["update_norm"] for row in played.tables["clients"].to_pylist() if row["round"] == 1]
    assert len(norms) == 5 and sum(norm is not None and not math.isnan(norm) for norm in norms) == 3


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_resumed_it_gives_the_same_bits(tmp_path, optimizer):
    changes = {"training__optimizer": Adam()} if optimizer == "adam" else {}
    scenario = toy(BufferedSplitFed(2), clients=9, cohort=Cohort(4), training__rounds=6, checkpoint_every=1, **changes)
    whole, layout = play(scenario), Layout(scenario)
    for stop in (1, 3, 4):
        short = scenario.replace(**{"training.rounds": stop})
        play(short, folder=tmp_path / str(stop))
        state = read_checkpoint(tmp_path / str(stop) / "checkpoints" / f"round-{stop:06d}", layout, short.hash)
        assert any(path.endswith("/in_flight_portion") for path in state.memory)
        assert play(scenario, start=state).digest == whole.digest


@pytest.mark.parametrize(
    "make,sentence",
    [
        (lambda: BufferedSplitFed(0), "BufferedSplitFed.buffer must be at least 1"),
        (lambda: BufferedSplitFed(2, -1), "BufferedSplitFed.staleness must be at least 0"),
        (lambda: Speeds(-1), "Speeds.sigma must be at least 0"),
        (
            lambda: toy(BufferedSplitFed(7)),
            "BufferedSplitFed.buffer is 7, but a cohort of 6 has only so many under way",
        ),
        (
            lambda: toy(BufferedSplitFed(4), defense=TrimmedMean(f=2)),
            "needs at least 5 updates against 2 malicious clients, but a buffer of 4",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(make, sentence):
    with pytest.raises(ScenarioError, match=sentence):
        make()
