"""MiniBatch-SFL: clients as in federated learning, the server as in mini-batch SGD on the union."""

import pytest
import torch

from raysplit.models.network import build
from raysplit.protocols.minibatch_sfl import MiniBatchSfl
from tests.invariants.plain_loop import OPTIMIZERS
from tests.invariants.split_loop import BODY, batches, by_hand
from tests.toys import ToyClients, distance, play, toy


def central_server(scenario, make):
    """Mini-batch SGD of the server's stages on the union of the clients' batches of a step index; the others never
    move."""
    torch.set_num_threads(1)
    network = build(scenario.model, scenario.seed, scenario.training.dtype)
    of_server = [p for name, p in network.named_parameters() if name.startswith(BODY[scenario.model.cut])]
    optimizer = make(of_server, scenario.training.server_lr)
    for round in range(1, scenario.training.rounds + 1):
        work = [batches(scenario, round, client) for client in range(scenario.cohort.size)]
        for step in range(max(map(len, work))):
            union = [batches_of_client[step] for batches_of_client in work if step < len(batches_of_client)]
            x, y = torch.cat([x for x, _ in union]), torch.cat([y for _, y in union])
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(x), y).backward()
            optimizer.step()
    return network.state_dict()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("cut", BODY)
def test_with_clients_that_stand_still_it_is_central_minibatch_sgd_of_the_server(cut, optimizer):
    spec, make = OPTIMIZERS[optimizer]
    changes = {"training__optimizer": spec, "training__precision": "float64", "training__local_epochs": 2}
    scenario = toy(MiniBatchSfl(), cut, training__lr=0, training__server_lr=0.02, **changes)
    played = play(scenario)
    assert distance(played.named, central_server(scenario, make)) < 1e-12
    assert distance(played.named, played.layout.named(played.layout.initial())) > 1e-2


@pytest.mark.parametrize("cut", BODY)
def test_with_clients_that_move_it_is_the_plain_loop(cut):
    changes = {"training__optimizer": OPTIMIZERS["sgd"][0], "training__precision": "float64"}
    scenario = toy(MiniBatchSfl(), cut, training__local_epochs=2, training__server_lr=0.02, **changes)
    assert distance(play(scenario).named, by_hand(scenario, "step")) < 1e-13


def test_permuting_clients_leaves_it_unchanged_up_to_the_order_of_the_sum():
    changes = {"training__batch_size": None, "training__local_epochs": 2, "training__precision": "float64"}
    plain = play(toy(MiniBatchSfl(), **changes))
    shuffled = play(toy(MiniBatchSfl(), population=ToyClients(6, order=(3, 0, 5, 1, 4, 2)), **changes))
    assert distance(plain.named, shuffled.named) < 1e-15


@pytest.mark.parametrize("cut", BODY)
def test_a_u_shape_with_an_empty_tail_equals_the_shape_without(cut):
    straight = play(toy(MiniBatchSfl(), cut))
    assert play(toy(MiniBatchSfl(u_shaped=True), cut, "fc2")).digest == straight.digest


def test_the_server_steps_once_a_step_index():
    from raysplit.training.optimizers import Adam

    played = play(toy(MiniBatchSfl(), training__optimizer=Adam(), training__rounds=3))
    most = max(played.tables["clients"].column("steps").to_pylist())
    assert float(played.state.memory.get("server/optimizer", {})["0.step"]) == 3 * most
