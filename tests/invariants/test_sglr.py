"""SGLR: a common cut gradient for a random share of the clients, and a faster server."""

import pytest
import torch

from raysplit.channels.channel import Channel
from raysplit.channels.hooks import MessageHook
from raysplit.errors import ScenarioError
from raysplit.protocols.minibatch_sfl import MiniBatchSfl
from raysplit.protocols.parallel_sl import ParallelSl
from raysplit.protocols.sglr import Sglr
from raysplit.training.servers.waiting_servers import position_mean
from tests.toys import ToyClients, play, toy


class Ear(MessageHook):
    """Hears every cut gradient as it reaches its client."""

    party = "clients"
    channels = frozenset({Channel.CUT_GRADIENTS})

    def __init__(self):
        self.heard = {}

    def observe(self, message, labels):
        self.heard[message.round, message.step, message.client] = message.tensor.clone()


def listened(protocol, **changes):
    ear = Ear()
    return play(toy(protocol, **changes), hooks=(ear,)), ear.heard


@pytest.mark.parametrize("exponent,factor", [(0.0, 1.0), (0.5, 2.0), (1.0, 4.0)])
def test_with_one_active_client_it_is_minibatch_sfl_with_a_faster_server(exponent, factor):
    """The mean of one gradient is that gradient; four clients at exponent 0.5 double the rate."""
    changes = {"clients": 4, "training__rounds": 3, "training__client_state": "per_client"}
    sglr = play(toy(Sglr(0.01, exponent, synchronise=True), **changes))
    assert sglr.digest == play(toy(MiniBatchSfl(), training__server_lr=0.05 * factor, **changes)).digest


@pytest.mark.parametrize("share,active", [(0.2, 1), (0.5, 3), (1.0, 6)])
def test_active_clients_get_one_mean_by_position_and_the_others_their_own(share, active):
    """In the first step both protocols stand at the same portions, so MiniBatch-SFL hears what is averaged."""
    changes = {"training__rounds": 1, "training__local_epochs": 1}
    _, own = listened(MiniBatchSfl(), **changes)
    _, sent = listened(Sglr(share), **changes)
    own = {client: own[1, 0, client] for client in range(6)}
    sent = {client: sent[1, 0, client] for client in range(6)}
    assert len({len(gradient) for gradient in own.values()}) > 1, "batches must differ in size"
    changed = [client for client in range(6) if not sent[client].equal(own[client])]
    if active == 1:
        assert not changed
        return
    assert len(changed) == active
    for position in range(4):
        reached = [own[c][position] for c in changed if len(own[c]) > position]
        for client in changed:
            if len(own[client]) > position:
                assert torch.allclose(sent[client][position], torch.stack(reached).mean(0), atol=1e-9)


def test_who_is_active_is_drawn_anew():
    changes = {
        "training__rounds": 3,
        "training__lr": 0,
        "training__server_lr": 0,
        "population": ToyClients(6, smallest=30),
    }
    _, own = listened(ParallelSl(), **changes)  # nothing moves, not even by the rounding of an average
    _, sent = listened(Sglr(), **changes)
    active = {}
    for key, gradient in sent.items():
        if not gradient.equal(own[key]):
            active.setdefault(key[:2], set()).add(key[2])
    first = {frozenset(active[1, step]) for step in range(7)}
    rounds = {frozenset(active[round, 0]) for round in (1, 2, 3)}
    assert all(len(chosen) == 3 for chosen in first | rounds) and len(first) > 2 and len(rounds) > 1
    assert set.union(*active.values()) == set(range(6))


def test_clients_on_the_same_data_stay_alike_when_all_share_one_gradient():
    """The reason for the broadcast: no averaging, yet portions do not part."""
    changes = {
        "population": ToyClients(4, order=(2, 2, 2, 2)),
        "clients": 4,
        "training__batch_size": None,
        "training__rounds": 3,
    }
    portions = list(play(toy(Sglr(1.0), **changes)).state.client_portions.values())
    assert all(torch.allclose(portion, portions[0], atol=1e-7) for portion in portions)
    own = play(toy(Sglr(1.0), clients=4, training__rounds=3)).state.client_portions
    assert not own[0].equal(own[1])


def test_it_is_not_parallel_split_learning():
    assert play(toy(Sglr())).digest != play(toy(ParallelSl())).digest


def test_the_mean_of_batches_of_several_sizes():
    rows = [torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[5.0]]), torch.tensor([[3.0], [4.0]])]
    assert position_mean(rows).tolist() == [[3.0], [3.0], [3.0]]
    assert position_mean(rows[:1]).equal(rows[0])


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ScenarioError, match=r"Sglr\.active_share is a share and must be above 0 and at most 1"):
        Sglr(active_share=share)
    with pytest.raises(ScenarioError, match=r"Sglr\.lr_exponent must be at least 0"):
        Sglr(lr_exponent=-0.5)
