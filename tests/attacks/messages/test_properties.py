"""What each attack on messages promises of what it sends, on made-up batches."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raysplit import (
    FeatureGradientTampering,
    FeatureReplacement,
    Misalignment,
    ServerSteering,
    ServerTampering,
    SmashedAscent,
    SmashedBackdoor,
    SmashedNoise,
    SmashedTailored,
    WireLabelFlip,
)
from raysplit.attacks.messages.message_attack import MessageAttack, MessageView
from raysplit.attacks.messages.tailored import largest_within
from raysplit.attacks.messages.tampering import tampering_of
from raysplit.channels.channel import Channel
from raysplit.channels.message import Message
from raysplit.rng import stream

CLASSES = 4
ATTACKS = [
    SmashedNoise(),
    SmashedAscent(),
    SmashedAscent(0.5, "sign"),
    SmashedTailored(),
    SmashedTailored("min_max"),
    SmashedTailored("min_max", "unit"),
    SmashedTailored(shift=True),
    FeatureReplacement(),
    WireLabelFlip(),
    WireLabelFlip("next"),
    WireLabelFlip("random"),
    WireLabelFlip(3),
    Misalignment(),
    SmashedBackdoor(),
    FeatureGradientTampering("noise"),
    ServerTampering("zero"),
    ServerSteering(),
]


def batch(seed, size=6, shape=(3, 4, 4), channels_last=True):
    draw = torch.Generator().manual_seed(seed)
    z = torch.randn(size, *shape, generator=draw).relu()
    if channels_last and len(shape) == 3:
        z = z.contiguous(memory_format=torch.channels_last)
    return z, torch.randint(0, CLASSES, (size,), generator=draw)


def carry_out(attack, z, y, labels=True, step=1, gradients=None):
    """The message that goes on, by way of ``Tampering``, after an answer to an earlier step of the same labels."""
    party = attack.threat_model.party
    [channel] = attack.threat_model.changes
    tampering = tampering_of(attack, party, 7, 1, CLASSES, {3: 0})
    for heard in sorted(attack.threat_model.sees - {channel}):
        other = (
            gradients if heard is Channel.CUT_GRADIENTS and gradients is not None else batch(99, len(z), z.shape[1:])[0]
        )
        tampering.change(Message(heard, 1, 3, step - 1, other), y)
    travelling = y if labels and channel is Channel.SMASHED else None
    return tampering.change(Message(channel, 1, 3, step, z, travelling), y)


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    size=st.integers(1, 9),
    flat=st.booleans(),
    scale=st.sampled_from([0.0, 1e-6, 1.0, 1e4]),
)
def test_same_shape_layout_and_type_finite_and_the_message_untouched(attack, seed, size, flat, scale):
    z, y = batch(seed, size, (5,) if flat else (3, 4, 4))
    z = z * scale
    kept, labels = z.clone(), y.clone()
    sent = carry_out(attack, z, y)
    assert z.equal(kept) and y.equal(labels)
    assert sent.tensor.shape == z.shape and sent.tensor.dtype == z.dtype and sent.tensor.stride() == z.stride()
    assert bool(sent.tensor.isfinite().all())
    if sent.labels is not None:
        assert sent.labels.dtype == y.dtype and bool(((sent.labels >= 0) & (sent.labels < CLASSES)).all())
    assert sent.tensor.equal(carry_out(attack, z, y).tensor), "the same stream, the same lie"


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_each_is_a_message_attack_and_changes_something(attack):
    assert isinstance(attack, MessageAttack)
    z, y = batch(5)
    sent = carry_out(attack, z, y)
    assert not (sent.tensor.equal(z) and (sent.labels is None or sent.labels.equal(y)))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), step=st.floats(0.01, 5), direction=st.sampled_from(["gradient", "sign"]))
def test_ascent_keeps_its_bound_and_goes_along_the_classs_gradients(seed, step, direction):
    z, y = batch(seed)
    gradients = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed))
    sent = carry_out(SmashedAscent(step, direction), z, y, gradients=gradients).tensor
    moved, length = (sent - z).flatten(1), z.flatten(1).norm(dim=1)
    assert bool((moved.norm(dim=1) <= step * length * (1 + 1e-4) + 1e-6).all())
    for i, label in enumerate(y.tolist()):
        along = gradients.flatten(1)[y == label].sum(0)
        assert float(moved[i] @ (along.sign() if direction == "sign" else along)) >= 0


def test_ascent_is_honest_before_its_first_answer():
    z, y = batch(1)
    tampering = tampering_of(SmashedAscent(), "clients", 7, 1, CLASSES, {3: 0})
    message = Message(Channel.SMASHED, 1, 3, 0, z, y)
    assert tampering.change(message, y) is message
    assert tampering.tampered[(0, 3)].changed == 0 and tampering.tampered[(0, 3)].messages == 1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(2, 12), kind=st.sampled_from(["std", "sign", "unit"]))
def test_min_max_clones_stay_as_near_as_the_batch_itself(seed, size, kind):
    z, y = batch(seed, size)
    clone = carry_out(SmashedTailored("min_max", kind), z, y).tensor.flatten(1)
    rows = z.flatten(1)
    assert bool((clone == clone[0]).all())
    assert float(torch.cdist(clone[:1], rows).max()) <= float(torch.cdist(rows, rows).max()) * (1 + 1e-3) + 1e-5


def test_min_max_agrees_with_a_search():
    rows = batch(3, 8)[0].flatten(1).double()
    mean, p = rows.mean(0), -rows.std(0)
    reach = torch.cdist(rows, rows).max()
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        fits = torch.linalg.vector_norm(mean + middle * p - rows, dim=1).max() <= reach
        low, high = (middle, high) if fits else (low, middle)
    assert largest_within(rows, mean, p) == pytest.approx(low, rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_misalignment_keeps_mean_and_covariance(seed):
    z, y = batch(seed, 9)
    rows, sent = z.flatten(1).double(), carry_out(Misalignment(), z, y).tensor.flatten(1).double()
    assert torch.allclose(sent.mean(0), rows.mean(0), atol=1e-5)
    assert torch.allclose(torch.cov(sent.T), torch.cov(rows.T), atol=1e-4)
    assert torch.allclose(sent - sent.mean(0), -(rows - rows.mean(0)), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 12), share=st.floats(0.1, 1))
def test_replacement_sends_honest_rows_of_other_classes(seed, size, share):
    z, y = batch(seed, size)
    sent = carry_out(FeatureReplacement(share), z, y).tensor
    for i in range(size):
        sources = [j for j in range(size) if sent[i].equal(z[j])]
        assert sources
        assert i in sources or any(y[j] != y[i] for j in sources)
        if share == 1 and len(set(y.tolist())) > 1:
            assert any(y[j] != y[i] for j in sources)


@pytest.mark.parametrize("to", ["mirror", "next", "random", 2])
def test_flips(to):
    z, y = batch(4, 40)
    sent = carry_out(WireLabelFlip(to), z, y)
    assert sent.tensor.equal(z)
    wanted = {"mirror": CLASSES - 1 - y, "next": (y + 1) % CLASSES, 2: torch.full_like(y, 2)}
    assert sent.labels.equal(wanted[to]) if to in wanted else bool((sent.labels != y).all())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), strength=st.floats(0.1, 10), target=st.sampled_from(["mean", "zero"]))
def test_steering_has_the_length_it_claims_and_pulls_to_its_target(seed, strength, target):
    z, y = batch(seed)
    g = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed))
    tampering = tampering_of(ServerSteering(target, strength), "main_server", 7, 1, CLASSES, {})
    tampering.change(Message(Channel.SMASHED, 1, 3, 0, z, y), y)
    sent = tampering.change(Message(Channel.CUT_GRADIENTS, 1, 3, 0, g), y).tensor
    assert float(sent.norm()) == pytest.approx(strength * float(g.norm()), rel=1e-4)
    to = z.mean(0, keepdim=True) if target == "mean" else torch.zeros_like(z[:1])
    assert torch.nn.functional.cosine_similarity(sent.flatten(), (z - to).flatten(), dim=0) > 0.9999


def test_noise_is_as_large_as_it_says():
    z, y = batch(6, 400)
    noise = carry_out(SmashedNoise(2.0), z, y).tensor - z
    assert float(noise.std()) == pytest.approx(2.0 * float(z.std()), rel=0.02)


def test_the_backdoor_marks_its_share_with_one_pattern_and_its_target():
    z, y = batch(8, 200)
    attack = SmashedBackdoor(target=2, share=0.3, strength=1.5, coordinates=0.25)
    sent = carry_out(attack, z, y)
    hit = (sent.tensor != z).flatten(1).any(1)
    assert 30 < int(hit.sum()) < 90
    assert bool((sent.labels[hit] == 2).all()) and sent.labels[~hit].equal(y[~hit])
    pattern = (attack.triggered(z) - z).flatten(1)
    assert torch.allclose(pattern, pattern[:1].expand_as(pattern), atol=1e-5)
    assert int((pattern[0].abs() > 1e-3).sum()) == 12
    assert float(pattern[0].abs().max()) == pytest.approx(1.5 * float(z.square().mean().sqrt()), rel=1e-3)
    assert not torch.allclose(SmashedBackdoor(pattern=1).triggered(z), SmashedBackdoor().triggered(z))


def test_a_view_shows_no_more_than_the_threat_model():
    seen: list[MessageView] = []

    class Nosy(MessageAttack):
        threat_model, start_round = SmashedNoise().threat_model, 1

        def alter(self, message, view):
            seen.append(view)
            return message

    tampering = tampering_of(Nosy(), "clients", 7, 1, CLASSES, {3: 5})
    z, y = batch(1)
    tampering.change(Message(Channel.SMASHED, 1, 3, 0, z, y), y)
    tampering.change(Message(Channel.CUT_GRADIENTS, 1, 3, 0, z), y)
    tampering.change(Message(Channel.SMASHED, 1, 3, 1, z, y), y)
    tampering.change(Message(Channel.SMASHED, 1, 4, 1, z, y), y)
    assert [set(view.seen) for view in seen] == [set(), {Channel.SMASHED}], "it does not see cut gradients; 4 is honest"
    assert seen[0].rank == 5 and isinstance(seen[0].rng, np.random.Generator)
    draws = [view.rng.random() for view in seen]
    assert draws[0] == stream(7, "alter", 1, 3, 0, 0, 2).random() != draws[1]
