"""FORA: equal to a loop that is written out here; MMD by its definition; labels out of reach."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from raysplit import Fora
from raysplit.attacks.inference.discriminators import of_smashed
from raysplit.attacks.inference.fora import mmd
from raysplit.attacks.inference.inference_attack import Knowledge, Observed
from raysplit.attacks.inference.substitutes import substitute_portion
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.models.decoders import decoder
from tests.attacks.inference.test_sdar import observed, target


def test_it_equals_its_three_losses_written_out():
    attack, against = Fora(steps=3, batch_size=4, width=2, penalty=10.0), target()
    seen = observed(attack, against)
    found = attack.infer(seen, Knowledge(attack, against))

    draw, z = Knowledge(attack, against).generator("substitute"), seen.on(Channel.SMASHED)
    x = against.auxiliary.x
    torch.manual_seed(int(torch.randint(1 << 62, (), generator=draw)))
    s = substitute_portion((1, 8, 8), (2, 8, 8), 2, positive=True).double()
    c = of_smashed((2, 8, 8), 2).double()
    d = decoder("small", (2, 8, 8), (1, 8, 8)).double()
    adam = {s: torch.optim.Adam(s.parameters(), 1e-3), c: torch.optim.Adam(c.parameters(), 3e-4)}
    adam[d] = torch.optim.Adam(d.parameters(), 1e-3)

    def step(network, loss):
        adam[network].zero_grad()
        loss.backward(inputs=list(network.parameters()))
        adam[network].step()

    for _ in range(3):
        known = x[torch.randint(12, (4,), generator=draw)]
        real = z[torch.randint(6, (4,), generator=draw)]
        u = torch.rand(4, generator=draw, dtype=torch.float64)[:, None, None, None]
        made = s(known)
        step(s, 0.2 * c(made).mean() + 0.8 * mmd(real, made))
        made = made.detach()
        difference = c(real).mean() - c(made).mean()
        between = (u * real + (1 - u) * made).requires_grad_()
        (slope,) = torch.autograd.grad(c(between).sum(), [between], create_graph=True)
        norms = slope.square().sum((1, 2, 3)).sqrt()
        step(c, difference + 10.0 * ((norms - 1) ** 2).mean())
        step(d, functional.mse_loss(d(made), known))
    assert torch.allclose(found.inputs, d(z).clamp(0, 1), atol=1e-9)


def test_mmd_is_its_definition_and_0_for_one_sample_twice():
    torch.manual_seed(0)
    a, b = torch.randn(5, 3).double(), torch.randn(5, 3).double() + 1
    pooled = torch.cat([a, b])
    squared = [[float(((p - q) ** 2).sum()) for q in pooled] for p in pooled]
    bandwidth = sum(map(sum, squared)) / (10 * 9)

    def k(i: int, j: int) -> float:
        return sum(math.exp(-squared[i][j] / (2.0**power * bandwidth)) for power in (-3, -2, -1, 0, 1))

    first, second = range(5), range(5, 10)
    parts = [
        sum(k(i, j) for i in one for j in other) / 25
        for one, other in ((first, first), (second, second), (first, second))
    ]
    assert float(mmd(a, b)) == pytest.approx(parts[0] + parts[1] - 2 * parts[2], abs=1e-12)
    assert float(mmd(a, a.flip(0))) == pytest.approx(0.0, abs=1e-12) and float(mmd(a, b)) > 0.1


@pytest.mark.parametrize("shape", [(2, 8, 8), (3, 4, 4), (5, 3, 3), (7,)])
def test_a_substitute_fits_any_smashed_data(shape):
    x = torch.rand(2, 1, 8, 8)
    positive = substitute_portion((1, 8, 8), shape, 2, positive=True)(x)
    either = substitute_portion((1, 8, 8), shape, 2, positive=False)(x)
    assert positive.shape == either.shape == (2, *shape)
    assert bool((positive >= 0).all()) and bool((either < 0).any())


def test_it_cannot_reach_labels_the_architecture_or_the_servers_weights():
    knowledge = Knowledge(Fora(), target())
    reaches = (knowledge.auxiliary, knowledge.untrained_portion, lambda: knowledge.finish(torch.zeros(1)))
    for reach in reaches:
        with pytest.raises(ScenarioError, match=r"which it does not declare; add it to Fora\.needs"):
            reach()


def test_a_vector_of_smashed_data_is_inverted_too_and_the_global_stream_stays():
    attack, against = Fora(steps=2, batch_size=3, width=2), target()
    z = torch.randn(4, 5, dtype=torch.float64)
    seen = Observed(attack, {Channel.SMASHED: z}, torch.arange(4), torch.ones(4, dtype=torch.int64))
    before = torch.random.get_rng_state()
    found = attack.infer(seen, Knowledge(attack, against))
    assert found.inputs.shape == (4, 1, 8, 8) and torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch_size": 1}, {"critic_lr": 0.0}, {"mmd_share": 1.5}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ScenarioError, match="Fora"):
        Fora(**wrong)
