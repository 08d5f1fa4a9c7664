"""SDAR and PCAT: equal to loops that are written out here, in a U-shape too, and better than a guess."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from raysplit import Sdar
from raysplit.attacks.inference.discriminators import Labelled, of_images, of_smashed
from raysplit.attacks.inference.inference_attack import Auxiliary, Knowledge, Observed, Target
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.models.decoders import decoder

CLASSES = 3


def head(seed: int) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU()).double()


def body(seed: int = 5) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(128, CLASSES)).double().requires_grad_(False)


def target(m: int = 12, tail: nn.Module | None = None) -> Target:
    torch.manual_seed(7)
    auxiliary = Auxiliary(torch.rand(m, 1, 8, 8, dtype=torch.float64), torch.randint(CLASSES, (m,)))
    server = body()
    finish = server if tail is None else nn.Sequential(server, tail)
    return Target(
        1,
        (1, 8, 8),
        CLASSES,
        0.0,
        1.0,
        lambda _: head(2),
        head(1),
        finish,
        auxiliary,
        features=None if tail is None else server,
        tail=tail,
        untrained_tail=None if tail is None else lambda _: copy.deepcopy(tail),
    )


def observed(attack: Sdar, against: Target, n: int = 6, labels: bool = False) -> tuple[Observed, torch.Tensor]:
    torch.manual_seed(9)
    x = torch.rand(n, 1, 8, 8, dtype=torch.float64)
    y = torch.randint(CLASSES, (n,)) if labels else None
    z = against.client(x).detach()
    return Observed(attack, {Channel.SMASHED: z}, torch.arange(n), torch.ones(n, dtype=torch.int64), y), x


def first_weights(knowledge: Knowledge) -> torch.Generator:
    """The attack's stream, after what seeds its networks."""
    draw = knowledge.generator("simulator")
    torch.manual_seed(int(torch.randint(1 << 62, (), generator=draw)))
    return draw


def test_without_discriminators_it_is_pcat_written_out():
    """A pseudo-client learns the main task behind the frozen server portion; a decoder learns to invert it."""
    attack, against = Sdar(steps=5, batch_size=4, feature_weight=0, image_weight=0), target()
    seen, _ = observed(attack, against)
    found = attack.infer(seen, Knowledge(attack, against))

    draw = first_weights(Knowledge(attack, against))
    inverse, pseudo, server = decoder("small", (2, 8, 8), (1, 8, 8)).double(), head(2), body()
    first = torch.optim.Adam(pseudo.parameters(), lr=1e-3)
    second = torch.optim.Adam(inverse.parameters(), lr=5e-4)
    for _ in range(5):
        rows = torch.randint(12, (4,), generator=draw)
        torch.randint(6, (4,), generator=draw)
        x, y = against.auxiliary.x[rows], against.auxiliary.y[rows]
        first.zero_grad()
        functional.cross_entropy(server(pseudo(x)), y).backward()
        first.step()
        second.zero_grad()
        functional.mse_loss(inverse(pseudo(x).detach()), x).backward()
        second.step()
    assert torch.allclose(found.inputs, inverse(seen.on(Channel.SMASHED)).clamp(0, 1), atol=1e-12)
    (clone,) = found.clones
    for one, other in zip(clone.parameters(), pseudo.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-12)


def test_it_equals_the_published_steps_written_out():
    attack = Sdar(steps=4, batch_size=5, feature_weight=0.5, image_weight=0.25, by_label=True, width=4)
    against = target()
    seen, _ = observed(attack, against, labels=True)
    found = attack.infer(seen, Knowledge(attack, against))

    draw = first_weights(Knowledge(attack, against))
    z, y_seen, server = seen.on(Channel.SMASHED), seen.labels(), body()
    e = head(2)
    d = Labelled((2, 8, 8), CLASSES, decoder("small", (3, 8, 8), (1, 8, 8))).double()
    d_e = Labelled((2, 8, 8), CLASSES, of_smashed((3, 8, 8), 4)).double()
    d_d = Labelled((1, 8, 8), CLASSES, of_images((2, 8, 8), 4)).double()
    rates = {e: 1e-3, d: 5e-4, d_e: 0.5 * 1e-3, d_d: 0.25 * 5e-4}
    adam = {network: torch.optim.Adam(network.parameters(), lr=lr) for network, lr in rates.items()}

    def bce(logits: torch.Tensor, real: float) -> torch.Tensor:
        return functional.binary_cross_entropy(torch.sigmoid(logits), torch.full_like(logits, real))

    def step(network: nn.Module, loss: torch.Tensor) -> None:
        for parameter in network.parameters():
            parameter.grad = None
        loss.backward(inputs=list(network.parameters()))
        adam[network].step()

    for _ in range(4):
        rows = torch.randint(12, (5,), generator=draw)
        drawn = torch.randint(6, (5,), generator=draw)
        x, y, real, y_real = against.auxiliary.x[rows], against.auxiliary.y[rows], z[drawn], y_seen[drawn]
        made = e(x)
        step(e, functional.cross_entropy(server(made), y) + 0.5 * bce(d_e(made, y), 1))
        step(d_e, bce(d_e(real, y_real), 1) + bce(d_e(made.detach(), y), 0))
        rebuilt = d(real, y_real)
        step(d, functional.mse_loss(d(e(x).detach(), y), x) + 0.25 * bce(d_d(rebuilt, y_real), 1))
        step(d_d, bce(d_d(x, y), 1) + bce(d_d(rebuilt.detach(), y_real), 0))
    assert torch.allclose(found.inputs, d(z, y_seen).clamp(0, 1), atol=1e-9)


def test_the_global_random_stream_is_left_as_it_was_and_results_repeat():
    attack, against = Sdar(steps=2, batch_size=3, width=2), target()
    seen, _ = observed(attack, against)
    before = torch.random.get_rng_state()
    one = attack.infer(seen, Knowledge(attack, against)).inputs
    torch.rand(3)
    torch.random.set_rng_state(before)
    with torch.random.fork_rng():
        torch.manual_seed(123)
        other = attack.infer(seen, Knowledge(attack, against)).inputs
    assert torch.equal(one, other)


def test_u_shaped_it_names_labels_by_a_simulated_tail():
    """Two clearly different classes of inputs: bright left or bright right half; the victim has learned them."""
    torch.manual_seed(0)
    y = torch.arange(120) % 2
    x = torch.rand(120, 1, 8, 8, dtype=torch.float64) * 0.3
    for index, label in enumerate(y.tolist()):
        x[index, :, :, 4 * label : 4 * label + 4] += 0.7
    client, server, tail = head(1), body().requires_grad_(True), nn.Linear(CLASSES, 2).double()
    whole = nn.Sequential(client, server, tail)
    optimizer = torch.optim.Adam(whole.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        functional.cross_entropy(whole(x[80:]), y[80:]).backward()
        optimizer.step()
    whole.requires_grad_(False)
    known = Auxiliary(x[40:80], y[40:80])
    parts = {"client": client, "finish": nn.Sequential(server, tail), "features": server, "tail": tail}
    fresh = {"classes": 2, "auxiliary": known, "untrained_tail": lambda _: nn.Linear(CLASSES, 2).double()}
    against = replace(target(), **parts, **fresh)
    attack = Sdar(steps=150, batch_size=16, simulator_lr=1e-2, decoder_lr=5e-3, width=4)
    z = client(x[:40])
    seen = Observed(attack, {Channel.SMASHED: z}, torch.arange(40), torch.ones(40, dtype=torch.int64))
    found = attack.infer(seen, Knowledge(attack, against))
    assert found.labels is not None and (found.labels == y[:40]).double().mean() > 0.9
    assert found.inputs is not None and found.inputs.shape == (40, 1, 8, 8)


def test_labels_that_did_not_travel_cannot_be_told():
    attack, against = Sdar(steps=1, by_label=True), target()
    seen, _ = observed(attack, against)
    with pytest.raises(ScenarioError, match="reads labels, but none travelled"):
        attack.infer(seen, Knowledge(attack, against))


def test_vectors_are_told_labels_and_judged_too():
    against = target()
    flat = nn.Sequential(head(1), nn.Flatten())
    against = replace(against, client=flat, untrained=lambda _: nn.Sequential(head(2), nn.Flatten()))
    attack = Sdar(steps=2, batch_size=3, width=2, by_label=True)
    seen, _ = observed(attack, against, labels=True)
    assert attack.infer(seen, Knowledge(attack, against)).inputs.shape == (6, 1, 8, 8)


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"width": 0}, {"simulator_lr": 0.0}, {"feature_weight": -1.0}, {"label_noise": 1.5}]
)
def test_arguments_out_of_range_are_refused(wrong):
    with pytest.raises(ScenarioError):
        Sdar(**wrong)
