"""A user's own attack on data or messages, hook, screen, protocol, draw, availability, skew or schedule that gives back
what its contract does not allow is met with a sentence that names it, before training where that can be known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from raysplit import Detection
from raysplit.attacks.data.data_attack import DataAttack
from raysplit.attacks.messages.message_attack import MessageAttack, client_threat
from raysplit.channels.channel import Channel, ThreatModel
from raysplit.channels.hooks import MessageHook
from raysplit.defenses.detection.detection import Screen
from raysplit.errors import PopulationError, ScenarioError, UserError
from raysplit.parts.part import part
from raysplit.population.partition.iid import Iid
from raysplit.population.partition.partitioned import partitioned
from raysplit.population.population import Samples
from raysplit.population.selection.cohort import Cohort, ParticipationSampler
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.training.settings import StepDecay, Training
from tests.toys import ToyClients, play, toy

ANSWER: list[Any] = [None]
"""What the parts below give back: a function of what they were shown."""
MALICIOUS = Cohort(6, 0.5, "cohort")


@part
class Data(DataAttack):
    def poison_samples(self, view):
        return ANSWER[0](view.own)


@part
class Goal(DataAttack):
    def poison_samples(self, view):
        return view.own

    def attempts(self, view):
        return ANSWER[0](view.own)


@part
class Wire(MessageAttack):
    threat_model: ClassVar[ThreatModel] = client_threat(Channel.SMASHED)

    def alter(self, message, view):
        return ANSWER[0](message)


class Hook(MessageHook):
    party = "clients"
    channels = frozenset({Channel.SMASHED})

    def change(self, message, labels):
        return ANSWER[0](message)


class Watcher(Hook):
    def change(self, message, labels):
        return message

    def observe(self, message, labels):
        return ANSWER[0](message)


@part
class Look(Screen):
    def judge(self, view, memory):
        return ANSWER[0](view)


@part
class Drawn:
    def draw(self, size, seed, round, crowd):
        return ANSWER[0](crowd)


@part
class There:
    def presence(self, clients):
        return lambda round: ANSWER[0](clients)


@part
class Skew:
    def change(self, x, client, clients, stream):
        return ANSWER[0](x)


@part
class Rate:
    def factor(self, round, rounds):
        return ANSWER[0](round)


@part
class Odd(SplitFedV2):
    def plan(self, plan, memory):
        return ANSWER[0]("plan", plan)

    def after(self, plan, outcome, state):
        return ANSWER[0]("after", {})


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            lambda own: None,
            r"Data\.poison_samples\(\) must return Samples\(x, y\), two tensors, but it returned NoneType$",
        ),
        (lambda own: (own.x, own.y.numpy()), r"two tensors, but it returned Tensor, ndarray$"),
        (lambda own: own.y, r"two tensors, but it returned Tensor$"),
        (lambda own: Samples(own.x.float(), own.y), r"must return as many samples of the same kind"),
    ],
)
def test_poisoned_samples(answer, sentence):
    ANSWER[0] = answer
    with pytest.raises(UserError, match=sentence):
        play(toy(SplitFedV2(), cohort=MALICIOUS, attack=Data()))


def test_a_plain_pair_of_tensors_is_samples():
    ANSWER[0] = lambda own: (own.x, own.y)
    assert play(toy(SplitFedV2(), cohort=MALICIOUS, attack=Data())).digest == play(toy(SplitFedV2())).digest


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (lambda own: own.x, r"Goal\.attempts\(\) must return Samples\(x, y\), two tensors, but it returned Tensor$"),
        (
            lambda own: Samples(own.x[:, 0], own.y),
            r"must return samples like those of the test set, x torch\.uint8 \[k, 1, 8",
        ),
        (
            lambda own: Samples(own.x, own.y[:0]),
            r"but it returned x torch\.uint8 \[\d, 1, 8, 8\] and y torch\.int64 \[0\]$",
        ),
        (lambda own: Samples(own.x.float(), own.y), r"but it returned x torch\.float32"),
    ],
)
def test_attempts(answer, sentence):
    ANSWER[0] = answer
    with pytest.raises(UserError, match=sentence):
        play(toy(SplitFedV2(), cohort=MALICIOUS, attack=Goal()))


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (lambda message: message.tensor, r"must return a Message of a tensor, but it returned Tensor"),
        (lambda message: None, r"must return a Message of a tensor, but it returned NoneType"),
        (
            lambda message: replace(message, tensor=message.tensor.detach().numpy()),
            r"must return .*, but it returned one of a ndarray",
        ),
    ],
)
def test_messages(answer, sentence):
    ANSWER[0] = answer
    with pytest.raises(UserError, match=r"Wire\.alter\(\) " + sentence):
        play(toy(SplitFedV2(), cohort=MALICIOUS, attack=Wire()))
    with pytest.raises(UserError, match=r"Hook\.change\(\) " + sentence):
        play(toy(SplitFedV2()), hooks=(Hook(),))


def test_observations():
    ANSWER[0] = lambda message: {"norm": 1.0}
    with pytest.raises(UserError, match=r"Watcher\.observe\(\) must return tensors by name, or None for nothing$"):
        play(toy(SplitFedV2()), hooks=(Watcher(),))


def test_verdicts():
    ANSWER[0] = lambda view: True
    with pytest.raises(UserError, match=r"Look\.judge\(\) must return a Verdict, but it returned bool$"):
        play(toy(SplitFedV2(), detection=Detection((Look(),))))


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            lambda crowd: [0, 1],
            r"Drawn\.draw\(\) must return client ids, an array of whole numbers \[n\], but it gave list$",
        ),
        (lambda crowd: np.array([0.0, 1.0]), r"but it gave float64\[2\]$"),
        (
            lambda crowd: np.array([0, 6]),
            r"Drawn\.draw\(\) drew client 6, who is not among the 6 clients that can be sampled",
        ),
        (lambda crowd: np.array([2, 2]), r"Drawn\.draw\(\) drew a client twice; draw without replacement$"),
    ],
)
def test_draws(answer, sentence):
    ANSWER[0] = answer
    with pytest.raises(ScenarioError, match=sentence):
        ParticipationSampler(Cohort(2, draw=Drawn()), 1, ToyClients().open()).of(1)


@pytest.mark.parametrize(
    "answer", [lambda clients: np.ones(clients), lambda clients: [True] * clients, lambda clients: True]
)
def test_availability(answer):
    ANSWER[0] = answer
    with pytest.raises(
        ScenarioError, match=r"^There\.presence\(\) must say of round 3 who is there, bool \[6\], but it says"
    ):
        ParticipationSampler(Cohort(2, available=There()), 1, ToyClients().open()).of(3)


@pytest.mark.parametrize("answer", [lambda x: x[:1], lambda x: x / 255, lambda x: torch.from_numpy(x)])
def test_skews(answer):
    ANSWER[0] = answer
    with pytest.raises(
        PopulationError, match=r"^Skew\.change\(\) must return as many samples of the same kind, uint8\["
    ):
        partitioned(ToyClients(), Iid(), 2, features=Skew()).open().train(1)


@pytest.mark.parametrize(
    "answer", [lambda round: None, lambda round: -0.5, lambda round: float("nan"), lambda round: "1"]
)
def test_schedules_are_asked_before_training(answer):
    ANSWER[0] = lambda round: 1.0 if round < 4 else answer(round)
    with pytest.raises(ScenarioError, match=r"^Rate\.factor\(4, 5\) must be a number of at least 0, but it is "):
        Training(rounds=5, lr=0.1, schedule=Rate())
    Training(rounds=3, lr=0.1, schedule=Rate())
    with pytest.raises(
        ScenarioError, match=r"^StepDecay\.factor\(3, 5\) must be a number of at least 0, but it is -2\.0"
    ):
        Training(rounds=5, lr=0.1, schedule=StepDecay(every=2, factor_each=-2.0))


@pytest.mark.parametrize("method", ["plan", "after"])
def test_protocols(method):
    ANSWER[0] = lambda asked, answer: None if asked == method else answer
    with pytest.raises(
        ScenarioError, match=rf"^Odd\.{method}\(\) must return (a RoundPlan|its memory by path).* NoneType$"
    ):
        play(toy(Odd()))
