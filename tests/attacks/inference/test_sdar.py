"""SDAR and PCAT: equal to loops that are written out here; in a U-shape, where they name labels; refusals."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from raysplit import Sdar
from raysplit.attacks.inference.discriminators import Labelled, of_images, of_smashed
from raysplit.attacks.inference.inference_attack import Knowledge, Observed
from raysplit.attacks.inference.sdar import _redrawn
from raysplit.attacks.inference.target import Auxiliary, Target, UShape
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


def target() -> Target:
    torch.manual_seed(7)
    auxiliary = Auxiliary(torch.rand(12, 1, 8, 8, dtype=torch.float64), torch.randint(CLASSES, (12,)))
    return Target(1, (1, 8, 8), CLASSES, 0.0, 1.0, lambda _: head(2), head(1), body(), auxiliary)


def observed(attack: Sdar, against: Target, labels: bool = False) -> Observed:
    """Six samples that the client sent."""
    torch.manual_seed(9)
    z = against.client(torch.rand(6, 1, 8, 8, dtype=torch.float64)).detach()
    y = torch.randint(CLASSES, (6,)) if labels else None
    return Observed(attack, {Channel.SMASHED: z}, torch.arange(6), torch.ones(6, dtype=torch.int64), y)


def first_weights(knowledge: Knowledge) -> torch.Generator:
    """The attack's stream, after what seeds its networks."""
    draw = knowledge.generator("simulator")
    torch.manual_seed(int(torch.randint(1 << 62, (), generator=draw)))
    return draw


def test_without_discriminators_it_is_pcat_written_out():
    """A pseudo-client learns the main task behind the frozen server portion; a decoder learns to invert it."""
    attack, against = Sdar(steps=5, batch_size=4, feature_weight=0, image_weight=0), target()
    seen = observed(attack, against)
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
    assert not any(module.training for module in clone.modules())
    for one, other in zip(clone.parameters(), pseudo.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-12)


def test_it_equals_the_published_steps_written_out():
    attack = Sdar(steps=4, batch_size=5, feature_weight=0.5, image_weight=0.25, by_label=True, width=4)
    against = target()
    seen = observed(attack, against, labels=True)
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


def test_the_global_random_stream_is_left_as_it_was_and_moves_no_result():
    attack, against = Sdar(steps=2, batch_size=3, width=2), target()
    seen = observed(attack, against)
    before = torch.random.get_rng_state()
    one = attack.infer(seen, Knowledge(attack, against)).inputs
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(attack.infer(seen, Knowledge(attack, against)).inputs, one)


def halves(tail: nn.Module) -> tuple[Target, torch.Tensor, torch.Tensor]:
    """A U-shaped victim that has learned to tell a bright left half of an image from a bright right one, and what it
    sent of 40 others: smashed data and the true labels."""
    torch.manual_seed(0)
    y = torch.arange(120) % 2
    x = torch.rand(120, 1, 8, 8, dtype=torch.float64) * 0.3
    for index, label in enumerate(y.tolist()):
        x[index, :, :, 4 * label : 4 * label + 4] += 0.7
    client, server, fresh = head(1), body().requires_grad_(True), copy.deepcopy(tail)
    whole = nn.Sequential(client, server, tail)
    optimizer = torch.optim.Adam(whole.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        functional.cross_entropy(whole(x[80:]), y[80:]).backward()
        optimizer.step()
    whole.requires_grad_(False)
    u_shape = UShape(server, tail, lambda _: copy.deepcopy(fresh))
    parts = {"client": client, "finish": nn.Sequential(server, tail), "u_shape": u_shape}
    return replace(target(), **parts, auxiliary=Auxiliary(x[40:80], y[40:80])), client(x[:40]), y[:40]


@pytest.mark.parametrize("tail", [nn.Linear(CLASSES, CLASSES).double(), nn.Sequential()], ids=["layer", "loss alone"])
def test_u_shaped_it_names_labels_by_a_simulated_tail_that_learns_from_redrawn_ones(tail):
    against, z, y = halves(copy.deepcopy(tail))
    found = {}
    for noise in (0.2, 0.8):
        attack = Sdar(150, 16, simulator_lr=1e-2, decoder_lr=5e-3, width=4, label_noise=noise)
        seen = Observed(attack, {Channel.SMASHED: z}, torch.arange(40), torch.ones(40, dtype=torch.int64))
        found[noise] = attack.infer(seen, Knowledge(attack, against))
    assert (found[0.2].labels == y).double().mean() > 0.9
    assert found[0.2].inputs.shape == (40, 1, 8, 8) and not found[0.2].inputs.equal(found[0.8].inputs)


def test_a_share_of_labels_is_redrawn_from_all_classes_alike():
    y = torch.full((30_000,), 2)
    drawn = _redrawn(y, 3, 0.6, torch.Generator().manual_seed(0)).bincount() / len(y)
    assert drawn.tolist() == pytest.approx([0.2, 0.2, 0.6], abs=0.02)
    assert _redrawn(y, 3, 0.0, torch.Generator()).equal(y)


def test_what_is_told_a_label_goes_by_it():
    torch.manual_seed(0)
    network = Labelled((2, 8, 8), CLASSES, nn.Sequential(nn.Flatten(), nn.Linear(192, 1)))
    x = torch.rand(1, 2, 8, 8).expand(3, -1, -1, -1)
    answers = network(x, torch.arange(3))[:, 0].tolist()
    assert len(set(answers)) == 3 and network(x[:1], torch.tensor([2])).item() == pytest.approx(answers[2])


def test_labels_that_did_not_travel_cannot_be_told():
    attack, against = Sdar(steps=1, by_label=True), target()
    seen = observed(attack, against)
    with pytest.raises(ScenarioError, match="reads labels, but none travelled"):
        attack.infer(seen, Knowledge(attack, against))


def test_vectors_are_told_labels_and_judged_too():
    against = target()
    flat = nn.Sequential(head(1), nn.Flatten())
    against = replace(against, client=flat, untrained=lambda _: nn.Sequential(head(2), nn.Flatten()))
    attack = Sdar(steps=2, batch_size=3, width=2, by_label=True)
    seen = observed(attack, against, labels=True)
    assert attack.infer(seen, Knowledge(attack, against)).inputs.shape == (6, 1, 8, 8)


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"width": 0}, {"simulator_lr": 0.0}, {"feature_weight": -1.0}, {"label_noise": 1.5}]
)
def test_arguments_out_of_range_are_refused(wrong):
    with pytest.raises(ScenarioError):
        Sdar(**wrong)
