"""NoPeek: distance correlation against loops, and a client's loss against one network in plain PyTorch."""

import math

import pytest
import torch
from torch.nn import functional

from raysplit import NoPeek, PerExampleClipping, SmashedNoise
from raysplit.defenses.messages.distance_correlation import distance_correlation
from raysplit.errors import ScenarioError
from raysplit.models.network import build, cut
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.loss_drop import AsyncSplitFed
from raysplit.protocols.splitfed_v2 import SplitFedV2
from tests.toys import play, toy


def by_loops(x, z):
    """R_n of Székely et al. 2007, pair by pair on plain numbers."""
    n = len(x)

    def centred(rows):
        flat = [[float(v) for v in row.flatten()] for row in rows]
        a = [[math.dist(one, other) for other in flat] for one in flat]
        rows_mean = [sum(line) / n for line in a]
        all_mean = sum(rows_mean) / n
        return [[a[i][j] - rows_mean[i] - rows_mean[j] + all_mean for j in range(n)] for i in range(n)]

    one, other = centred(x), centred(z)

    def mean(a, b):
        return sum(a[i][j] * b[i][j] for i in range(n) for j in range(n)) / n**2

    covariance, variances = math.sqrt(mean(one, other)), (math.sqrt(mean(one, one)), math.sqrt(mean(other, other)))
    return covariance / math.sqrt(variances[0] * variances[1])


def drawn(n, *shape, seed=0):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("n", [2, 3, 8, 15])
def test_distance_correlation_is_that_of_a_loop_over_pairs(n):
    x, z = drawn(n, 2, 3), drawn(n, 4, seed=1)
    assert float(distance_correlation(x, z)) == pytest.approx(by_loops(x, z), abs=1e-12)


def test_distance_correlation_is_one_for_what_is_turned_moved_and_scaled():
    x = drawn(9, 3)
    turn = torch.linalg.qr(drawn(3, 3, seed=2))[0]
    assert float(distance_correlation(x, 2.5 * x @ turn + 1)) == pytest.approx(1, abs=1e-12)


def test_its_gradient_is_that_of_finite_differences():
    x, z = drawn(6, 4), drawn(6, 3, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: distance_correlation(x, z), (z,))


def test_where_it_is_not_defined_it_is_nothing_and_has_no_gradient():
    alike = torch.ones(4, 3, requires_grad=True)
    twice = torch.tensor([[1.0, 2.0], [1.0, 2.0], [3.0, 0.0]], requires_grad=True)
    for x, z in ((drawn(4, 2).float(), alike), (drawn(1, 2), torch.ones(1, 2, requires_grad=True))):
        value = distance_correlation(x, z)
        assert float(value.detach()) == 0 and not torch.autograd.grad(value, z)[0].any()
    assert torch.autograd.grad(distance_correlation(drawn(3, 2).float(), twice), twice)[0].isfinite().all()


@pytest.mark.parametrize("u_shaped", [False, True])
def test_a_client_trains_on_its_loss_and_the_term_as_plain_pytorch_does(u_shaped):
    tail = "fc1" if u_shaped else None
    scenario = toy(
        SplitFedV2(u_shaped=u_shaped),
        tail=tail,
        clients=1,
        training__rounds=1,
        training__batch_size=None,
        message_defenses=(NoPeek(weight=3.0),),
    )
    network = build(scenario.model, scenario.seed, scenario.training.dtype)
    portions = cut(network, scenario.model, True, u_shaped)
    own = scenario.population.open().train(0)
    x = own.x.float() / 255
    z = portions.head(x)
    logits = portions.body(z) if portions.tail is None else portions.tail(portions.body(z))
    extra = 3.0 * distance_correlation(x, z)
    (functional.cross_entropy(logits, own.y) + extra).backward()
    decay = scenario.training.optimizer.weight_decay
    with torch.no_grad():
        for parameter in network.parameters():
            parameter -= 0.05 * (parameter.grad + decay * parameter)
    named = play(scenario).named
    for name, tensor in network.named_parameters():
        assert torch.allclose(named[name], tensor, rtol=0, atol=1e-6), name
    assert play(scenario.replace(message_defenses=())).named["conv1.0.weight"].ne(named["conv1.0.weight"]).any()


def test_clients_that_take_messages_into_their_own_hands_leave_the_term_out():
    """Everybody but client 0 malicious from round 1 on, by noise that is too small to matter but counts."""
    changes = {"attack": SmashedNoise(scale=1e-30), "cohort__malicious": 0.99, "cohort__of": "population"}
    changes["training__rounds"] = 1
    plain = play(toy(SplitFedV2(), **changes))
    made = play(toy(SplitFedV2(), message_defenses=(NoPeek(weight=5.0),), **changes))
    everybody = play(toy(SplitFedV2(), training__rounds=1, message_defenses=(NoPeek(weight=5.0),)))
    start = made.layout.initial().client

    def moved(played):
        return float((played.state.client - plain.state.client).norm() / (plain.state.client - start).norm())

    assert moved(made) < 0.5 * moved(everybody)


def test_it_is_refused_where_it_could_not_act():
    term = (NoPeek(weight=1.0),)
    with pytest.raises(ScenarioError, match="batch_size is 1"):
        toy(SplitFedV2(), training__batch_size=1, message_defenses=term)
    with pytest.raises(ScenarioError, match="FedAvg has none"):
        toy(FedAvg(), cut=None, message_defenses=term)
    with pytest.raises(ScenarioError, match="no longer bounds what one sample changes"):
        toy(SplitFedV2(), message_defenses=term, privacy=PerExampleClipping(1.0, 1.0))
    toy(AsyncSplitFed(), message_defenses=term)
