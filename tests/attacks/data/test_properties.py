"""What every data attack promises of a client's samples: how many change, in what, and that the rest stay as they
were."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raysplit import (
    Brightness,
    DistributedBackdoor,
    EdgeCaseBackdoor,
    FarthestLabelFlip,
    LabelFlip,
    ListedSamples,
    OwnedBy,
    Patch,
    PixelBackdoor,
    SemanticBackdoor,
    TargetedLabelFlip,
)
from raysplit.attacks.data.poisoning import MaliciousClient, attempts, poison
from raysplit.population.population import Samples
from tests.attacks.data.views import CLASSES, changed, samples, test_view, view
from tests.toys import ToyClients

shares = st.floats(0.01, 1)
sizes = st.integers(1, 40)
seeds = st.integers(0, 10_000)


def linear(x: torch.Tensor) -> torch.Tensor:
    """A stand-in for a client's portion: CLASSES numbers a sample."""
    weights = torch.randn(x[0].numel(), CLASSES, generator=torch.Generator().manual_seed(1))
    return x.flatten(1).double() @ weights.double()


EDGE = EdgeCaseBackdoor(ToyClients(4, shape=(1, 12, 12)), target=2, share=0.4)
ATTACKS = [
    LabelFlip(),
    LabelFlip("random", 0.5),
    TargetedLabelFlip(1, 2),
    FarthestLabelFlip(0.5),
    PixelBackdoor(2, share=0.3),
    DistributedBackdoor(2),
    SemanticBackdoor(Brightness(0.5), 2),
    EDGE,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
@pytest.mark.parametrize("whole", [True, False])
def test_same_seed_same_bytes_in_every_round_and_nothing_shown_is_changed(attack, whole):
    own = samples(30)
    before = Samples(own.x.clone(), own.y.clone())
    made = [poison(attack, own, MaliciousClient(3, 1, round, linear, whole), CLASSES, 5)[0] for round in (1, 1, 9)]
    assert own.x.equal(before.x) and own.y.equal(before.y)
    assert all(other.x.equal(made[0].x) and other.y.equal(made[0].y) for other in made)
    assert any(changed(own, made[0])[1])
    others = poison(attack, own, MaliciousClient(4, 1, 1, linear, whole), CLASSES, 5)[1]
    assert others[type(attack).__name__].clients == 1


@settings(deadline=None, max_examples=40)
@given(sizes, shares, seeds)
def test_a_backdoor_stamps_its_share_of_the_set_and_nothing_else(n, share, seed):
    own, trigger = samples(n, seed), Patch(3, 2)
    made = PixelBackdoor(4, trigger, share).poison_samples(view(own, seed=seed))
    pixels, labels = changed(own, made)
    assert int(labels.sum()) == min(round(share * n), int((own.y != 4).sum()))
    assert made.y[labels].eq(4).all() and not (pixels & ~labels).any()
    outside = ~trigger.mask(12, 12)
    assert made.x[..., outside].equal(own.x[..., outside])
    assert made.x[labels].equal(trigger.stamp(own.x[labels]))


@settings(deadline=None, max_examples=40)
@given(sizes, shares, seeds, st.integers(0, 30))
def test_a_distributed_backdoor_stamps_the_quarter_of_its_rank(n, share, seed, rank):
    own, trigger = samples(n, seed), Patch(5, 4)
    made = DistributedBackdoor(0, trigger, share).poison_samples(view(own, rank=rank, seed=seed))
    labels = own.y != made.y
    outside = ~trigger.quarter(rank % 4, 12, 12)
    assert made.x[..., outside].equal(own.x[..., outside])
    assert made.x[labels].equal(trigger.stamp(own.x[labels], rank % 4))


@settings(deadline=None, max_examples=40)
@given(sizes, shares, seeds)
def test_flips_change_their_share_of_labels_and_no_pixel(n, share, seed):
    own = samples(n, seed)
    everybody = round(share * n)
    opposite = LabelFlip(share=share).poison_samples(view(own, seed=seed))
    moved = opposite.y != own.y
    assert opposite.y[moved].equal(CLASSES - 1 - own.y[moved])
    assert int(moved.sum()) <= everybody <= int(moved.sum()) + int((own.y == CLASSES // 2).sum())
    at_random = LabelFlip("random", share).poison_samples(view(own, seed=seed))
    assert int((at_random.y != own.y).sum()) == everybody and at_random.y.min() >= 0 and at_random.y.max() < CLASSES
    targeted = TargetedLabelFlip(1, 5, share).poison_samples(view(own, seed=seed))
    moved = targeted.y != own.y
    assert own.y[moved].eq(1).all() and targeted.y[moved].eq(5).all()
    assert int(moved.sum()) == round(share * int((own.y == 1).sum()))
    for made in (opposite, at_random, targeted):
        assert made.x.equal(own.x)


@settings(deadline=None, max_examples=40)
@given(sizes, seeds)
def test_the_farthest_label_is_the_least_likely_or_the_farthest_mean(n, seed):
    own = samples(n, seed)
    likely = FarthestLabelFlip().poison_samples(view(own, forward=linear, whole=True)).y
    logits = linear(own.x)
    for row, (label, new) in enumerate(zip(own.y.tolist(), likely.tolist(), strict=True)):
        assert new == min((c for c in range(CLASSES) if c != label), key=lambda c: float(logits[row, c]))
    far = FarthestLabelFlip().poison_samples(view(own, forward=linear)).y
    for row, (label, new) in enumerate(zip(own.y.tolist(), far.tolist(), strict=True)):
        others = sorted(set(own.y.tolist()) - {label})
        means = {c: logits[own.y == c].mean(0) for c in others}
        assert new == (max(others, key=lambda c: float((logits[row] - means[c]).norm())) if others else label)


@settings(deadline=None, max_examples=40)
@given(sizes, shares, seeds)
def test_an_edge_case_comes_from_the_pool(n, share, seed):
    pool = {bytes(x.numpy().tobytes()) for client in range(4) for x in EDGE.pool.open().train(client).x}
    own = samples(n, seed)
    own = Samples(
        own.x.bitwise_not(), own.y
    )  # both are made from seeds: as they come, a sample can be in the pool already
    assert not any(x.numpy().tobytes() in pool for x in own.x)
    attack = EdgeCaseBackdoor(EDGE.pool, 2, share)
    made = attack.poison_samples(view(own, seed=seed))
    pixels, labels = changed(own, made)
    assert int(pixels.sum()) == round(share * n) and not (labels & ~pixels).any()
    assert all(made.x[i].numpy().tobytes() in pool for i in pixels.nonzero().flatten().tolist())
    assert made.y[pixels].eq(2).all()
    tests = {x.numpy().tobytes() for client in range(4) for x in EDGE.pool.open().test(client).x}
    tried = attack.attempts(test_view(own))
    assert len(tried.y) == 10 and all(x.numpy().tobytes() in tests for x in tried.x) and tried.y.eq(2).all()


def test_properties_name_their_samples():
    own = samples(20)
    mean = own.x.flatten(1).double().mean(1) / 255
    made = SemanticBackdoor(Brightness(0.5), target=2).poison_samples(view(own))
    assert (made.y != own.y).equal((mean >= 0.5) & (own.y != 2)) and made.x.equal(own.x)
    one_class = SemanticBackdoor(Brightness(), target=2, source=1).poison_samples(view(own))
    assert (one_class.y != own.y).equal(own.y == 1)
    listed = SemanticBackdoor(ListedSamples(train=((3, 4), (9, 5)), test=((3, 0),)), target=int(own.y[4] + 1) % CLASSES)
    assert (listed.poison_samples(view(own)).y != own.y).nonzero().flatten().tolist() == [4]
    assert listed.attempts(test_view(own)).x.equal(own.x[:1]) == bool(own.y[0] != listed.target)
    of_client_three = SemanticBackdoor(OwnedBy((3,)), target=2)
    assert (of_client_three.poison_samples(view(own)).y == 2).all() and of_client_three.poison_samples(
        view(own, client=4)
    ).y.equal(own.y)


def test_what_is_tried_is_what_the_adversary_wants():
    own = samples(25)
    back = PixelBackdoor(2)
    tried = back.attempts(test_view(own))
    assert tried.x.equal(back.trigger.stamp(own.x[own.y != 2])) and tried.y.eq(2).all()
    whole = DistributedBackdoor(2).attempts(test_view(own))
    assert whole.x.equal(tried.x) and whole.y.equal(tried.y), "the whole trigger, whoever stamped which quarter"
    flip = TargetedLabelFlip(1, 5)
    first, second = attempts((back, flip), own, 3, CLASSES, 5)
    assert first.x.equal(tried.x) and first.y.equal(tried.y)
    assert second.x.equal(own.x[own.y == 1]) and second.y.eq(5).all()
