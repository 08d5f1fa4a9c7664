"""Defences of smashed data: against plain PyTorch, on the wire, in evaluation, and who obeys them."""

import dataclasses
import math

import pytest
import torch
from torch.nn import functional

from raysplit import AdditiveNoise, Quantisation, SmashedDropout, SmashedNoise, TopK
from raysplit.channels.channel import Channel
from raysplit.channels.hooks import MessageHook
from raysplit.costs.traffic import predicted_bytes
from raysplit.defenses.messages.message_defense import DefenseView, SmashedDefense
from raysplit.errors import ScenarioError
from raysplit.models.network import build, cut
from raysplit.parts.part import part
from raysplit.protocols.buffered import BufferedSplitFed
from raysplit.protocols.cycle_sl import CycleSfl
from raysplit.protocols.loss_drop import AsyncSplitFed
from raysplit.protocols.minibatch_sfl import MiniBatchSfl
from raysplit.protocols.parallel_sl import ParallelSl
from raysplit.protocols.sglr import Sglr
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.protocols.splitfed_v3 import SplitFedV3
from raysplit.training.failures import ClientMistake
from tests.costs.plans import plan_of
from tests.toys import play, toy

EACH = [
    AdditiveNoise(scale=0.5),
    AdditiveNoise(scale=0.1, distribution="laplace", max_norm=2.0),
    SmashedDropout(share=0.4),
    TopK(share=0.3),
    Quantisation(bits=2),
    Quantisation(bits=3, rounding="stochastic"),
]


def view(seed: int = 0) -> DefenseView:
    return DefenseView(5, torch.Generator().manual_seed(seed))


@part
class Doubled(SmashedDefense):
    """z′ = 2z, whose gradients are doubled on their way back."""

    def sent(self, z, view):
        return 2 * z


@part
class Unchanged(SmashedDefense):
    def sent(self, z, view):
        return z


@dataclasses.dataclass(frozen=True)
class Noting(MessageHook):
    """Everything that passes one party's end."""

    party: str
    channels: frozenset = frozenset({Channel.SMASHED, Channel.CUT_GRADIENTS})

    def observe(self, message, labels):
        return {"tensor": message.tensor}


def seen(played) -> dict:
    return {(o.channel, o.round, o.client, o.step): o.tensors["tensor"] for o in played.observations}


def test_a_client_learns_through_its_defence_as_one_network_with_it_would():
    """One client, one batch a round, plain SGD: the same as head, defence and body as one graph in plain PyTorch."""
    scenario = toy(
        SplitFedV2(),
        clients=1,
        training__rounds=1,
        training__batch_size=None,
        message_defenses=(Doubled(), TopK(share=0.5)),
    )
    start = build(scenario.model, scenario.seed, scenario.training.dtype)
    portions = cut(start, scenario.model, True, False)
    own = scenario.population.open().train(0)
    x = own.x.float() / 255
    z = portions.head(x)
    rows = z.flatten(1)
    mask = torch.zeros_like(rows)
    for i, row in enumerate(rows):
        for j in sorted(range(len(row)), key=lambda j: (-abs(float(row[j])), j))[: math.ceil(0.5 * len(row))]:
            mask[i, j] = 1
    functional.cross_entropy(portions.body(2 * z * mask.view(z.shape)), own.y).backward()
    decay = scenario.training.optimizer.weight_decay
    with torch.no_grad():
        for parameter in start.parameters():
            parameter -= 0.05 * (parameter.grad + decay * parameter)
    named = play(scenario).named
    for name, tensor in start.named_parameters():
        assert torch.allclose(named[name], tensor, rtol=0, atol=1e-7), name


@pytest.mark.parametrize(
    "protocol",
    [
        SplitFedV1(),
        SplitFedV2(u_shaped=True),
        SplitFedV3(),
        SplitLearning(),
        ParallelSl(),
        MiniBatchSfl(),
        Sglr(),
        CycleSfl(),
        BufferedSplitFed(buffer=3),
    ],
    ids=lambda p: type(p).__name__,
)
def test_every_protocol_trains_with_defences_and_one_that_changes_nothing_changes_no_bit(protocol):
    tail = "fc1" if protocol.u_shaped else None
    plain = play(toy(protocol, tail=tail))
    assert play(toy(protocol, tail=tail, message_defenses=(Unchanged(),))).digest == plain.digest
    defended = play(toy(protocol, tail=tail, message_defenses=(AdditiveNoise(scale=0.5), TopK(share=0.5))))
    assert defended.digest != plain.digest and not defended.diverged


@pytest.mark.parametrize("defense", EACH, ids=lambda d: type(d).__name__)
def test_what_arrives_is_what_the_defence_makes_and_another_draw_each_step(defense):
    plain = seen(play(toy(SplitFedV2()), hooks=(Noting("main_server"),)))
    made = seen(play(toy(SplitFedV2(), message_defenses=(defense,)), hooks=(Noting("main_server"),)))
    first = [key for key in plain if key[0] is Channel.SMASHED and key[1] == 1 and key[3] == 0]
    assert len(first) == 6
    for key in first:  # a client's first batch of a run goes through the initial portion in both
        assert made[key].shape == plain[key].shape and not made[key].equal(plain[key])
    again = seen(play(toy(SplitFedV2(), message_defenses=(defense,)), hooks=(Noting("main_server"),)))
    assert all(again[key].equal(made[key]) for key in made)


def test_what_comes_back_reaches_the_client_by_the_chain_rule():
    at_server = seen(play(toy(SplitFedV2(), message_defenses=(Doubled(),)), hooks=(Noting("main_server"),)))
    at_client = seen(play(toy(SplitFedV2(), message_defenses=(Doubled(),)), hooks=(Noting("clients"),)))
    gradients = [key for key in at_server if key[0] is Channel.CUT_GRADIENTS]
    assert gradients
    assert all(at_client[key].equal(2 * at_server[key]) for key in gradients)


def test_malicious_clients_do_not_obey_and_honest_ones_do():
    changes = {"attack": SmashedNoise(start_round=2), "cohort__malicious": 0.5, "message_defenses": (Doubled(),)}
    made = seen(play(toy(SplitFedV2(), **changes), hooks=(Noting("clients"),)))
    back = seen(play(toy(SplitFedV2(), **changes), hooks=(Noting("main_server"),)))
    factors = {
        (key[1], key[2]): float(made[key].norm() / back[key].norm()) for key in made if key[0] is Channel.CUT_GRADIENTS
    }
    honest = {client for (round, client), factor in factors.items() if round == 2 and factor == pytest.approx(2)}
    malicious = {client for (round, client), factor in factors.items() if round == 2 and factor == pytest.approx(1)}
    assert len(honest) == 3 and len(malicious) == 3
    assert all(factor == pytest.approx(2) for (round, _), factor in factors.items() if round == 1)


def test_an_evaluation_goes_through_the_defences():
    """A defence that sends zeros leaves the server's answer to zeros, whoever asks."""
    scenario = toy(SplitFedV2(), training__rounds=1, message_defenses=(Blank(),))
    played = play(scenario)
    network = build(scenario.model, 0, scenario.training.dtype)
    network.load_state_dict(played.named)
    logits = cut(network, scenario.model, True, False).body(torch.zeros(1, 4, 2, 2))
    y = torch.cat([scenario.population.open().test(client).y for client in range(6)])
    expected = float(functional.cross_entropy(logits.expand(len(y), -1), y))
    assert played.tables["evaluations"].to_pylist()[-1]["loss"] == pytest.approx(expected, rel=1e-6)
    assert play(scenario.replace(message_defenses=())).digest == played.digest  # it trains as ever


@part
class Blank(SmashedDefense):
    def sent(self, z, view):
        return z if view.in_training else z * 0


@pytest.mark.parametrize(
    ("defense", "sample"),
    [
        (TopK(share=0.25), 4 * 4 + 2),  # 4 of 16 floats; places as a map of 16 bits or as 4 numbers of 4 bits
        (TopK(share=0.1), 2 * 4 + 1),  # 2 numbers of 4 bits
        (Quantisation(bits=3), 6 + 8),  # 48 bits and two floats
        (AdditiveNoise(scale=1.0), 64),
    ],
)
def test_bytes_on_the_channel_are_those_of_the_encoding_and_known_beforehand(defense, sample):
    scenario = toy(SplitFedV2(), message_defenses=(defense,))
    played = play(scenario)
    samples = int(scenario.population.open().train_sizes(torch.arange(6).numpy()).sum())
    assert played.bytes_on()["smashed"] == sample * samples
    assert played.bytes_on()["cut_gradients"] == 64 * samples
    found = {channel.value: of.tensors for channel, of in predicted_bytes(scenario, plan_of(scenario)).items()}
    assert found == played.bytes_on()


def test_noise_has_the_scale_that_it_says():
    z = torch.zeros(40, 50, 50, dtype=torch.float64)
    gaussian = AdditiveNoise(scale=0.3).sent(z, view())
    laplace = AdditiveNoise(scale=0.3, distribution="laplace").sent(z, view())
    n = z.numel()
    assert float(gaussian.std()) == pytest.approx(0.3, abs=3 * 0.3 / math.sqrt(2 * n))
    assert float(laplace.abs().mean()) == pytest.approx(0.3, abs=3 * 0.3 / math.sqrt(n))  # |Laplace| has sd b
    assert float(laplace.std()) == pytest.approx(0.3 * math.sqrt(2), rel=0.02)


def test_clipped_noise_states_what_a_release_guarantees():
    z = torch.randn(20, 7, dtype=torch.float64) * torch.linspace(0.01, 10, 20, dtype=torch.float64).view(-1, 1)
    for distribution, order in (("gaussian", 2), ("laplace", 1)):
        defense = AdditiveNoise(scale=1e-12, distribution=distribution, max_norm=2.0)
        made = defense.sent(z, view())
        norms, before = (torch.linalg.vector_norm(t, ord=order, dim=1) for t in (made, z))
        assert torch.allclose(norms, before.clamp(max=2.0), atol=1e-9)
    assert AdditiveNoise(scale=4.0, distribution="laplace", max_norm=1.0).release_epsilon(3, 0.0) == pytest.approx(1.5)
    assert AdditiveNoise(scale=4.0).release_epsilon(1, 1e-5) == math.inf
    # The Gaussian mechanism of noise multiplier 4: below the classic bound √(2 ln(1.25/δ))/4, which holds above ε 1 not.
    found = AdditiveNoise(scale=8.0, max_norm=1.0).release_epsilon(1, 1e-5)
    assert 0.8 < found < math.sqrt(2 * math.log(1.25e5)) / 4


def test_quantised_samples_take_no_more_values_than_their_bits_say_and_are_near():
    z = torch.randn(9, 4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    z[3] = 0.7
    for rounding in ("nearest", "stochastic"):
        made = Quantisation(bits=2, rounding=rounding).sent(z, view())
        for before, after in zip(z, made, strict=True):
            step = float(before.max() - before.min()) / 3
            assert len(after.unique()) <= 4
            bound = step / 2 if rounding == "nearest" else step
            assert float((after - before).abs().max()) <= bound + 1e-12
    many = z[:1].expand(20000, 4, 6)
    mean = Quantisation(bits=1, rounding="stochastic").sent(many, view()).mean(0)
    assert float((mean - z[0]).abs().max()) < 0.06  # unbiased: 3.5 standard errors of a step of about 4


def test_gradients_of_quantised_smashed_data_are_straight_through():
    z = torch.randn(3, 5, requires_grad=True)
    weights = torch.randn(3, 5)
    made = Quantisation(bits=1).sent(z, view())
    assert torch.autograd.grad((made * weights).sum(), z)[0].equal(weights)


def test_dropped_elements_get_no_gradient_and_kept_ones_are_scaled():
    z = torch.ones(2000, 10, requires_grad=True)
    made = SmashedDropout(share=0.4).sent(z, view())
    (gradient,) = torch.autograd.grad(made.sum(), z)
    assert gradient.equal(made.detach())
    assert made.detach().unique().tolist() == [0.0, pytest.approx(1 / 0.6)]
    assert float((made == 0).float().mean()) == pytest.approx(0.4, abs=0.012)


def test_defences_that_cannot_act_are_refused():
    for protocol, words in ((AsyncSplitFed(), "kept from earlier rounds"),):
        with pytest.raises(ScenarioError, match=words):
            toy(protocol, message_defenses=(TopK(share=0.5),))
    with pytest.raises(ScenarioError, match="comes last"):
        toy(SplitFedV2(), message_defenses=(Quantisation(bits=4), AdditiveNoise(scale=1.0)))


@part
class Shorter(SmashedDefense):
    def sent(self, z, view):
        return z[:, :1]


def test_a_defence_that_changes_the_shape_is_told_so():
    with pytest.raises(ClientMistake, match=r"Shorter.sent\(\) must return a tensor like the one it got"):
        play(toy(SplitFedV2(), message_defenses=(Shorter(),)))
