"""CycleSL: the server trains on a step's smashed data first, and clients step by the updated server."""

import pytest
import torch
from torch.func import functional_call

from raysplit import rng
from raysplit.channels.channel import Channel
from raysplit.channels.hooks import MessageHook
from raysplit.errors import ScenarioError
from raysplit.protocols.cycle_sl import CyclePsl, CycleSfl
from raysplit.protocols.minibatch_sfl import MiniBatchSfl
from raysplit.protocols.parallel_sl import ParallelSl
from raysplit.training.optimizers import Adam, Sgd
from tests.invariants.split_loop import BODY, by_hand, gradients, moved
from tests.toys import ToyCnn, distance, play, toy

EXACT = {"training__precision": "float64", "training__optimizer": Sgd(), "training__server_lr": 0.02}


@pytest.mark.parametrize("epochs,batch", [(1, None), (3, None), (2, 5)])
def test_a_server_that_does_not_learn_makes_it_minibatch_sfl(epochs, batch):
    frozen = {"training__server_lr": 0, "training__local_epochs": 2}
    assert play(toy(CycleSfl(epochs, batch), **frozen)).digest == play(toy(MiniBatchSfl(), **frozen)).digest


def test_a_server_that_does_not_learn_leaves_every_client_for_itself():
    frozen = {"training__server_lr": 0, "training__rounds": 3}
    cycle, parallel = play(toy(CyclePsl(), **frozen)), play(toy(ParallelSl(), **frozen))
    assert cycle.digest == parallel.digest and cycle.state.client_portions


def server_first(scenario):
    """The server's turn by hand: the stages behind the cut on the union of what the stages before it give."""
    protocol, lr = scenario.protocol, scenario.training.server_lr

    def train(network, body, seen, round, step):
        stages = BODY[scenario.model.cut]
        head = torch.nn.Sequential(*[s for name, s in network.named_children() if name not in stages])
        tail = torch.nn.Sequential(*[s for name, s in network.named_children() if name in stages])
        z = []
        for params, (x, _) in seen:
            names = [name for name, _ in head.named_parameters()]
            z.append(functional_call(head, dict(zip(names, params.values(), strict=True)), (x,)).detach())
        z, y = torch.cat(z), torch.cat([y for _, (_, y) in seen])
        names = dict(zip(body, [name for name, _ in tail.named_parameters()], strict=True))
        portion = {names[name]: tensor for name, tensor in body.items()}
        for epoch in range(protocol.server_epochs):
            size, order = protocol.server_batch or len(y), torch.arange(len(y))
            if size < len(y):
                order = torch.from_numpy(
                    rng.stream(scenario.seed, "server_batches", round, step, epoch).permutation(len(y))
                )
            for chosen in order.split(size):
                portion = moved(portion, gradients(tail, portion, z[chosen], y[chosen]), lr)
        return {name: portion[names[name]] for name in body}

    return train


@pytest.mark.parametrize("epochs,batch", [(1, None), (2, 5), (3, 1)])
@pytest.mark.parametrize("cut", BODY)
def test_it_is_the_plain_loop(cut, epochs, batch):
    scenario = toy(CycleSfl(epochs, batch), cut, **EXACT)
    assert distance(play(scenario).named, by_hand(scenario, "step", before_clients=server_first(scenario))) < 1e-12


def test_one_pass_over_everything_is_minibatch_sfls_server_step_but_clients_see_its_end():
    changes = {**EXACT, "training__rounds": 1, "training__batch_size": None}
    cycle, minibatch = play(toy(CycleSfl(), **changes)), play(toy(MiniBatchSfl(), **changes))
    assert float((cycle.state.server - minibatch.state.server).abs().max()) < 1e-15
    assert float((cycle.state.client - minibatch.state.client).abs().max()) > 1e-5


def test_the_server_stands_still_while_clients_get_their_gradients():
    """Steps and BatchNorm's statistics: epochs · batches of its own and nothing else."""
    model = ToyCnn("V1", batch_norm=True)
    played = play(
        toy(
            CycleSfl(server_epochs=3),
            model=model,
            training__optimizer=Adam(),
            training__rounds=1,
            training__batch_size=None,
        )
    )
    assert float(played.state.memory.get("server/optimizer", {})["0.step"]) == 3
    once = play(toy(CycleSfl(), model=model, training__rounds=1, training__batch_size=None))
    minibatch = play(toy(MiniBatchSfl(), model=model, training__rounds=1, training__batch_size=None))
    assert once.digest != minibatch.digest
    seen = []

    class Ear(MessageHook):
        party = "clients"
        channels = frozenset({Channel.SMASHED})

        def observe(self, message, labels):
            seen.append(message.tensor.clone())

    play(toy(CycleSfl(), model=model, training__rounds=1, training__batch_size=None), hooks=(Ear(),))
    norm = torch.nn.Sequential(*list(dict(model.stages())["conv2"].children())[:2])
    first = once.layout.server.named_tensors(once.layout.initial().server)
    norm[0].load_state_dict({"weight": first["conv2.0.weight"], "bias": first["conv2.0.bias"]})
    norm(torch.cat(seen))
    found = once.layout.server.named_tensors(once.state.server)["conv2.1.running_mean"]
    assert torch.allclose(found, norm[1].running_mean, atol=1e-6)


def test_cycles_that_cannot_turn_are_refused():
    with pytest.raises(ScenarioError, match=r"CycleSfl\.server_epochs must be at least 1"):
        CycleSfl(server_epochs=0)
    with pytest.raises(ScenarioError, match=r"CyclePsl\.server_batch must be at least 1"):
        CyclePsl(server_batch=0)
