"""``SplitLearning(schedule="minibatch")``: the portion is handed over after every batch (Gawali et al. 2021)."""

import pytest
import torch

from raysplit.models.network import build
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.split_steps import shared_split_steps
from raysplit.training.optimizers import Adam
from tests.invariants.split_loop import batches
from tests.toys import ToyClients, distance, play, toy

KEPT = {"training__optimizer": Adam(), "training__lr": 0.01, "training__precision": "float64"}


@pytest.mark.parametrize("state", ["fresh", "travels", "per_client"])
@pytest.mark.parametrize("ring", ["random", "fixed"])
def test_with_one_batch_a_client_both_schedules_are_one(ring, state):
    changes = {"training__batch_size": None, "training__rounds": 3, "training__client_state": state}
    by_client = play(toy(SplitLearning(ring=ring), **changes))
    by_batch = play(toy(SplitLearning(ring=ring, schedule="minibatch"), **changes))
    assert by_batch.digest == by_client.digest
    assert by_batch.tables["channels"] == by_client.tables["channels"]


def test_with_more_batches_the_schedules_differ():
    for state in ("fresh", "travels"):
        changes = {"training__client_state": state, "training__optimizer": Adam()}
        by_client = play(toy(SplitLearning(), **changes))
        assert distance(by_client.named, play(toy(SplitLearning(schedule="minibatch"), **changes)).named) > 1e-4


@pytest.mark.parametrize("u_shaped", [False, True])
@pytest.mark.parametrize("ring", ["random", "fixed"])
def test_with_states_that_go_on_it_is_one_party_that_sees_the_batches_in_turn(ring, u_shaped):
    protocol = SplitLearning(ring=ring, u_shaped=u_shaped, schedule="minibatch")
    scenario = toy(protocol, "V1", "fc1", training__client_state="travels", training__rounds=1, **KEPT)
    torch.set_num_threads(1)
    network = build(scenario.model, scenario.seed, torch.float64)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    work = [batches(scenario, 1, client) for client in range(6)]
    played = play(scenario)
    for position, step in shared_split_steps(
        protocol,
        scenario.seed,
        1,
        [len(batches_of_client) for batches_of_client in work] * torch.ones(6, dtype=int).numpy(),
    ):
        x, y = work[position][step]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    assert distance(played.named, network.state_dict()) < 1e-12


def test_the_ring_is_one_for_the_round_and_passes_over_whoever_is_done():
    scenario = toy(SplitLearning(schedule="minibatch"), training__rounds=1)
    steps = [len(batches(scenario, 1, client)) for client in range(6)]
    split_steps = shared_split_steps(scenario.protocol, scenario.seed, 1, torch.tensor(steps).numpy())
    ring = [v.position for v in split_steps if v.step == 0]
    for step in range(max(steps)):
        assert [v.position for v in split_steps if v.step == step] == [p for p in ring if steps[p] > step]


@pytest.mark.parametrize("handover,hops", [("central", 2), ("peer_to_peer", 1)])
def test_every_batch_is_a_hop(handover, hops):
    played = play(toy(SplitLearning(handover, schedule="minibatch")))
    steps = sum(played.tables["clients"].filter(played.tables["clients"]["round"].to_numpy() == 1)["steps"].to_pylist())
    assert played.messages_on()["handover"] == hops * steps > hops * 6
    assert played.bytes_on()["handover"] == hops * steps * 4 * played.layout.client.vector.numel()


def test_one_client_whose_optimisers_are_kept_is_the_client_schedule():
    changes = {
        "population": ToyClients(1, smallest=11),
        "training__client_state": "per_client",
        "training__rounds": 3,
        **KEPT,
    }
    by_client = play(toy(SplitLearning(), clients=1, **changes))
    assert play(toy(SplitLearning(schedule="minibatch"), clients=1, **changes)).digest == by_client.digest
