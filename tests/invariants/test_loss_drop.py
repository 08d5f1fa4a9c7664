"""Asynchronous split learning by loss threshold (reference 1.8): what moves and what crosses the cut in states A, B and
C."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from raysplit import rng
from raysplit.aggregation.rules.median import Median
from raysplit.errors import ScenarioError
from raysplit.models.network import build
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.loss_drop import AsyncSplitFed, AsyncSplitLearning, state_of
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.scenario.layout import Layout
from raysplit.storage.checkpoints import read_checkpoint
from tests.toys import ToyCnn, play, toy

ALWAYS, NEVER = -1e9, 1e9
CLIENT = ("conv1", "conv2")
Q = 4 * 2 * 2
"""Floats of a sample's smashed data behind V2."""


def client_part(named):
    return {name: tensor for name, tensor in named.items() if name.startswith(CLIENT)}


def moved(one, other):
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize(
    "asynchronous,plain",
    [
        (AsyncSplitFed(ALWAYS), SplitFedV2()),
        (AsyncSplitFed(ALWAYS, order="client_major"), SplitFedV2("client_major")),
        (AsyncSplitLearning(ALWAYS), SplitLearning()),
        (AsyncSplitLearning(ALWAYS, "peer_to_peer", "fixed"), SplitLearning("peer_to_peer", "fixed")),
    ],
    ids=repr,
)
def test_with_every_round_full_it_is_the_synchronous_protocol(asynchronous, plain, epochs):
    changes = {"training__rounds": 4, "training__local_epochs": epochs}
    one, other = play(toy(asynchronous, **changes)), play(toy(plain, **changes))
    assert one.digest == other.digest
    for table in ("channels", "evaluations", "clients"):
        assert one.tables[table] == other.tables[table]


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("asynchronous", [AsyncSplitFed(NEVER), AsyncSplitLearning(NEVER)], ids=repr)
def test_client_portions_move_in_state_a_alone(asynchronous, batch_norm):
    """Round 1 is full; the infinite drop before it makes round 2 full; 3 is B and the rest C, for no drop is large
    enough."""
    model = ToyCnn("V2", batch_norm=batch_norm)
    after = [play(toy(asynchronous, model=model, training__rounds=rounds)).named for rounds in (1, 2, 3, 4, 5)]
    assert moved(client_part(after[0]), client_part(after[1])) > 1e-4
    for later in after[2:]:
        assert moved(client_part(after[1]), client_part(later)) == 0
    servers = [{n: t for n, t in named.items() if n not in client_part(named)} for named in after]
    assert all(moved(servers[i], servers[i + 1]) > 1e-4 for i in range(4)), "the server learns in every round"


@pytest.mark.parametrize("order", ["interleaved", "client_major"])
def test_traffic_of_every_state_is_exact(order):
    played = play(toy(AsyncSplitFed(NEVER, order), training__rounds=4, training__local_epochs=2))
    samples = sum(3 + 7 * k % 11 for k in range(6))
    batches = sum(2 * math.ceil((3 + 7 * k % 11) / 4) for k in range(6))
    portion = 4 * (3 * 9 + 3 + 4 * 27 + 4)
    smashed = 4 * Q * samples * 2
    full = {"weights": 6 * portion, "smashed": smashed, "cut_gradients": smashed, "updates": 6 * portion}
    assert played.bytes_on(1) == played.bytes_on(2) == full
    assert played.messages_on(2) == {"weights": 6, "smashed": batches, "cut_gradients": batches, "updates": 6}
    assert played.bytes_on(3) == {"weights": 6 * portion, "smashed": smashed}
    assert played.messages_on(3) == {"weights": 6, "smashed": batches}
    assert played.label_bytes_on(3) == {"smashed": 8 * samples * 2}
    assert played.bytes_on(4) == {}


@pytest.mark.parametrize("handover,hops", [("central", 2), ("peer_to_peer", 1)])
def test_traffic_of_a_hand_over_in_every_state(handover, hops):
    played = play(toy(AsyncSplitLearning(NEVER, handover), training__rounds=4))
    portion = 4 * (3 * 9 + 3 + 4 * 27 + 4)
    assert played.bytes_on(2)["handover"] == 6 * hops * portion
    assert played.bytes_on(3) == {"handover": 6 * portion, "smashed": played.bytes_on(1)["smashed"]}
    assert played.bytes_on(4) == {}


def test_in_state_c_a_client_that_has_not_sent_since_the_last_full_round_sends():
    """A cohort of 3 of 12: round 4 is C, and those who were not drawn in round 3 must send as in B."""
    scenario = toy(AsyncSplitFed(NEVER), clients=12, cohort=Cohort(3), training__rounds=4)
    played = play(scenario)
    rows = played.tables["clients"].to_pylist()
    sampled = {r: {row["client"]: row["samples"] for row in rows if row["round"] == r} for r in (3, 4)}
    new = sampled[4].keys() - sampled[3].keys()
    assert len(new) > 0
    assert played.bytes_on(4)["smashed"] == 4 * Q * sum(sampled[4][client] for client in new)
    assert played.messages_on(4)["weights"] == len(new)
    assert "cut_gradients" not in played.bytes_on(4) and "updates" not in played.bytes_on(4)


@pytest.mark.parametrize("batch_norm,threshold,expected", [(False, 0.05, "AABCABCC"), (True, 0.1, "AAABAAABAABCC")])
def test_the_whole_of_it_is_a_plain_loop(batch_norm, threshold, expected):
    """Hand-written: two clients in a fixed ring, the threshold such that the states go back and forth; the server keeps
    Z."""
    rounds = len(expected)
    scenario = toy(
        AsyncSplitLearning(threshold, ring="fixed"),
        clients=2,
        model=ToyCnn("V2", batch_norm=batch_norm),
        training__rounds=rounds,
        training__precision="float64",
    )
    network = build(scenario.model, scenario.seed, torch.float64)
    head, body = network[:2], network[2:]
    server = torch.optim.SGD(body.parameters(), 0.05, momentum=0.9, weight_decay=1e-3)
    population = scenario.population.open()
    kept, state, reference, states = {}, "A", math.inf, []
    for round in range(1, rounds + 1):
        states.append(state)
        losses, count = 0.0, 0
        frozen = {name: tensor.clone() for name, tensor in head.state_dict().items()}
        for k in range(2):
            x, y = population.train(k)
            pixels = (x.double() / 255).contiguous(memory_format=torch.channels_last)
            client = torch.optim.SGD(head.parameters(), 0.05, momentum=0.9, weight_decay=1e-3)
            order = np.arange(len(y))
            if len(y) > 4:
                order = rng.stream(scenario.seed, "batches", round, k, 0).permutation(len(y))
            if state != "C":
                kept[k] = []
            for step in range(math.ceil(len(y) / 4)):
                if state != "C":
                    chosen = torch.from_numpy(order[4 * step : 4 * step + 4])
                    z = head(pixels[chosen])
                    kept[k].append((z.detach().clone(), y[chosen]))
                leaf = kept[k][step][0].clone().requires_grad_()
                server.zero_grad()
                loss = nn.functional.cross_entropy(body(leaf), kept[k][step][1])
                loss.backward()
                server.step()
                losses, count = losses + float(loss.detach()) * len(leaf), count + len(leaf)
                if state == "A":
                    client.zero_grad()
                    z.backward(leaf.grad)
                    client.step()
        if state != "A":
            head.load_state_dict(frozen)  # BatchNorm's statistics
        if reference - losses / count >= threshold:
            state, reference = "A", losses / count
        else:
            state = "B" if state == "A" else "C"
    assert "".join(states) == expected
    played = play(scenario)
    plain = {n: t for n, t in network.state_dict().items() if t.is_floating_point()}
    assert max(float((played.named[n] - t).abs().max()) for n, t in plain.items()) < 1e-13


def test_a_rule_acts_in_full_rounds_only():
    played = play(toy(AsyncSplitFed(NEVER), defense=Median(), training__rounds=4))
    assert played.tables["aggregation"].column("round").to_pylist() == [1, 2]


def test_resumed_in_any_state_it_gives_the_same_bits(tmp_path):
    scenario = toy(AsyncSplitFed(0.01), training__rounds=7, checkpoint_every=1)
    whole = play(scenario)
    layout = Layout(scenario)
    for stop in (2, 3, 4, 5):
        part = play(scenario.replace(**{"training.rounds": stop}), folder=tmp_path / str(stop))
        path = tmp_path / str(stop) / "checkpoints" / f"round-{stop:06d}"
        state = read_checkpoint(path, layout, scenario.replace(**{"training.rounds": stop}).hash)
        assert play(scenario, start=state).digest == whole.digest and part.digest


@pytest.mark.parametrize("kind", [AsyncSplitFed, AsyncSplitLearning])
@pytest.mark.parametrize("threshold", [math.inf, -math.inf, math.nan])
def test_a_threshold_is_finite(kind, threshold):
    with pytest.raises(ScenarioError, match=rf"{kind.__name__}.threshold must be a finite number of nats"):
        kind(threshold)


def test_after_a_full_round_nothing_that_was_sent_before_counts():
    """Clients that sent before it would send other smashed data now."""
    scenario = toy(AsyncSplitFed(NEVER), clients=12, cohort=Cohort(3), training__rounds=4)
    state = play(scenario).state
    kept = state.memory["fed/loss_drop"]
    assert state_of(state.memory) == "C" and len(kept["sent"]) > 0
    state = state.remember({"fed/loss_drop": {**kept, "state": torch.tensor(0)}})
    later = play(scenario.replace(**{"training.rounds": 5}), start=state)
    assert state_of(later.state.memory) in "AB" and len(later.state.memory["fed/loss_drop"]["sent"]) == 0
