"""Defences of gradients: their formulas, Marvell's solver against searches, and what label attacks still find."""

import math

import numpy as np
import pytest
import torch

from raysplit import (
    DirectionLabels,
    GradientNormMasking,
    Marvell,
    NormLabels,
    PerExampleClipping,
    ServerTampering,
)
from raysplit.analysis.scores.labels import leak_auc
from raysplit.attacks.inference.inference_attack import Knowledge, Observed
from raysplit.attacks.inference.target import Target
from raysplit.channels.channel import Channel
from raysplit.channels.hooks import MessageHook
from raysplit.defenses.messages.marvell_solver import TwoClasses, best_noise
from raysplit.defenses.messages.message_defense import DefenseView
from raysplit.errors import ScenarioError
from raysplit.protocols.cycle_sl import CycleSfl
from raysplit.protocols.loss_drop import AsyncSplitFed
from raysplit.protocols.minibatch_sfl import MiniBatchSfl
from raysplit.protocols.sglr import Sglr
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from tests.defenses.messages.two_classes import RareClass, TwoClassCnn
from tests.toys import play, toy


def divergence(classes, along_negative, across_negative, along_positive, across_positive):
    """Both Kullback-Leibler divergences of two Gaussians of dimension d, by matrices: their means ``gap`` apart along the
    first axis, variances those of the classes and of the noise."""
    d = classes.dimension
    mean = np.zeros(d)
    mean[0] = math.sqrt(classes.gap)
    one = np.diag([classes.negative + along_negative] + [classes.negative + across_negative] * (d - 1))
    other = np.diag([classes.positive + along_positive] + [classes.positive + across_positive] * (d - 1))

    def kl(a, b):
        inverse = np.linalg.inv(b)
        logs = np.linalg.slogdet(b)[1] - np.linalg.slogdet(a)[1]
        return 0.5 * (np.trace(inverse @ a) + mean @ inverse @ mean - d + logs)

    return kl(one, other) + kl(other, one)


PROBLEMS = [
    TwoClasses(1.0, 0.1, 0.4, 0.3, 5),
    TwoClasses(1.0, 0.4, 0.1, 0.3, 5),
    TwoClasses(2.0, 0.02, 0.02, 0.1, 9),
    TwoClasses(0.01, 3.0, 1.0, 0.7, 4),
    TwoClasses(1.0, 1e-4, 2.0, 0.5, 3),
    TwoClasses(1.0, 0.0, 0.3, 0.25, 6),
]


@pytest.mark.parametrize("power", [0.2, 1.0, 8.0])
@pytest.mark.parametrize("classes", PROBLEMS)
def test_the_noise_keeps_to_its_power_and_no_search_finds_better(classes, power):
    found = best_noise(classes, power)
    p, d = classes.share, classes.dimension
    spent = (1 - p) * (found.along_negative + (d - 1) * found.across_negative)
    spent += p * (found.along_positive + (d - 1) * found.across_positive)
    assert spent == pytest.approx(power, rel=1e-9)
    assert (
        found.along_negative >= found.across_negative - 1e-12 and found.along_positive >= found.across_positive - 1e-12
    )
    assert found.divergence == pytest.approx(divergence(classes, *found[:4]), rel=1e-6, abs=1e-9)
    draw = np.random.default_rng(0)
    best = math.inf
    for shares in draw.dirichlet([0.4] * 4, size=1500):  # any split of the power over the four, then near the best one
        across = shares[[1, 3]] * power / (d * np.array([1 - p, p]))
        along = across + shares[[0, 2]] * power / np.array([1 - p, p])
        best = min(best, divergence(classes, along[0], across[0], along[1], across[1]))
    assert found.divergence <= best + 1e-9
    assert best < 3 * found.divergence + 0.5  # the search comes near, so it is one


def test_more_noise_makes_the_classes_harder_to_tell_apart():
    found = [best_noise(PROBLEMS[0], power) for power in (0.1, 1.0, 10.0, 1000.0)]
    assert [one.divergence for one in found] == sorted((one.divergence for one in found), reverse=True)
    assert found[-1].error_bound > 0.45


def view(labels, seed=0, classes=2):
    return DefenseView(classes, torch.Generator().manual_seed(seed), labels)


def test_marvells_noise_has_the_covariances_that_were_solved_for():
    generator = torch.Generator().manual_seed(1)
    labels = torch.tensor([0, 0, 1, 0, 1] * 3000)
    base = torch.randn(5, 4, generator=generator, dtype=torch.float64) * torch.tensor([[1.0], [1], [2], [1], [2]])
    gradients = base.repeat(3000, 1)
    defense = Marvell(power=2.0)
    found = defense.noise_for(gradients, labels == 1)
    noise = defense.sent(gradients, view(labels)) - gradients
    gap = gradients[labels == 1].mean(0) - gradients[labels == 0].mean(0)
    direction = gap / gap.norm()
    for label, along, across in (
        (0, found.along_negative, found.across_negative),
        (1, found.along_positive, found.across_positive),
    ):
        own = noise[labels == label]
        n = len(own)
        assert float((own @ direction).square().mean()) == pytest.approx(along, rel=5 * math.sqrt(2 / n))
        rest = own - (own @ direction)[:, None] * direction
        assert float(rest.square().sum(1).mean() / 3) == pytest.approx(
            across, rel=5 * math.sqrt(2 / (3 * n)), abs=1e-12
        )
    assert float(noise.square().sum(1).mean()) == pytest.approx(2.0 * float(gap.square().sum()), rel=0.05)


def test_a_batch_of_one_class_goes_out_as_it_is():
    gradients = torch.randn(6, 3)
    assert Marvell().sent(gradients, view(torch.ones(6, dtype=torch.int64))).equal(gradients)


@pytest.mark.parametrize("form", ["scale", "max_norm", "perpendicular"])
def test_masked_gradients_are_as_long_as_the_longest(form):
    gradients = torch.randn(40000, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    gradients = gradients[:4].repeat(10000, 1) * torch.tensor([1.0, 0.5, 2.0, 0.1]).repeat(10000).view(-1, 1)
    labels = torch.zeros(len(gradients), dtype=torch.int64)
    made = GradientNormMasking(form=form).sent(gradients, view(labels))
    longest = gradients.norm(dim=1).max()
    if form == "max_norm":
        for i in range(4):
            assert float(made[i::4].square().sum(1).mean().sqrt()) == pytest.approx(float(longest), rel=0.03)
    else:
        assert torch.allclose(made.norm(dim=1), longest.expand(len(made)))
    if form != "scale":  # unbiased
        for i in range(4):
            assert float((made[i::4].mean(0) - gradients[i]).norm()) < 0.05 * float(longest)
    zero = GradientNormMasking(form=form).sent(torch.zeros(3, 2), view(labels[:3]))
    assert not zero.any()


class Noting(MessageHook):
    party = "clients"

    def __init__(self, channel):
        self.channels = frozenset({channel})

    def observe(self, message, labels):
        return {"tensor": message.tensor, "labels": labels}


def leaked(defenses, u_shaped):
    """Leak AUC of both label attacks on the steps of the fourth round, on the channel by which labels leak."""
    channel = Channel.FEATURE_GRADIENTS if u_shaped else Channel.CUT_GRADIENTS
    scenario = toy(
        SplitFedV2(u_shaped=u_shaped),
        clients=2,
        model=TwoClassCnn("V2", "fc1" if u_shaped else None),
        population=RareClass(),
        training__rounds=4,
        training__batch_size=100,
        message_defenses=defenses,
    )
    played = play(scenario, hooks=(Noting(channel),))
    aucs = {}
    for name, attack in (("norm", NormLabels(channel.value)), ("direction", DirectionLabels(channel.value))):
        found = []
        for seen in [one for one in played.observations if one.round == 4]:
            rows, labels = seen.tensors["tensor"], seen.tensors["labels"]
            n = len(rows)
            target = Target(0, (1, 8, 8), 2, 0, 1, None, None, None, labels=labels)
            observed = Observed(attack, {channel: rows}, torch.zeros(n).long(), torch.full((n,), n))
            knowledge = Knowledge(attack, target)
            scores = attack.infer(observed, knowledge).positive_scores
            left = torch.ones(n, dtype=torch.bool)
            left[list(knowledge.told)] = False
            found.append(leak_auc(scores[left], labels[left] == 1))
        aucs[name] = float(np.median(found))
    return aucs


@pytest.mark.parametrize("u_shaped", [False, True])
def test_marvell_takes_from_label_attacks_nearly_all_that_they_find(u_shaped):
    plain = leaked((), u_shaped)
    assert plain["norm"] > 0.9 and plain["direction"] > 0.95
    hidden = leaked((Marvell(power=20.0),), u_shaped)
    assert 0.35 < hidden["norm"] < 0.65 and 0.3 < hidden["direction"] < 0.7
    masked = leaked((GradientNormMasking(),), u_shaped)
    assert 0.3 < masked["norm"] < 0.7 and masked["direction"] > 0.95  # lengths are hidden, directions are not


@pytest.mark.parametrize("protocol", [SplitFedV1(), SplitLearning(), MiniBatchSfl(), CycleSfl(), AsyncSplitFed()])
def test_every_protocol_trains_with_masked_gradients(protocol):
    plain, made = (play(toy(protocol, message_defenses=d)) for d in ((), (GradientNormMasking(form="max_norm"),)))
    assert made.digest != plain.digest and not made.diverged


def test_a_malicious_main_server_adds_no_noise():
    attack = ServerTampering(start_round=1)
    scenario = toy(SplitFedV2(), attack=attack)
    assert play(scenario.replace(message_defenses=(GradientNormMasking(),))).digest == play(scenario).digest


def test_they_are_refused_where_they_could_not_act():
    with pytest.raises(ScenarioError, match="ToyCnn has 5"):
        toy(SplitFedV2(), message_defenses=(Marvell(),))
    with pytest.raises(ScenarioError, match="means over clients"):
        toy(Sglr(), message_defenses=(GradientNormMasking(),))
    with pytest.raises(ScenarioError, match="no longer bounds"):
        toy(SplitFedV2(), message_defenses=(GradientNormMasking(),), privacy=PerExampleClipping(1.0, 1.0))
