"""The threat model of every inference attack there is, found by walking the package: take one channel or one fact away
from the adversary, and the attack is refused; declare one less, and the attack is caught when it reaches for it."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import itertools
import pkgutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from torch import nn

import raysplit
from raysplit import (
    Adversary,
    DecoderTraining,
    FeatureSpaceHijacking,
    GanAttack,
    HijackedInversion,
    Scenario,
    Sgd,
    SplitFedV2,
    UnSplit,
)
from raysplit.analysis.inference.infer import Inference, Setup, infer_trained
from raysplit.analysis.runs.trained import Trained, read_trained
from raysplit.attacks.inference.adversary import Fact
from raysplit.attacks.inference.inference_attack import InferenceAttack, check_adversary
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError, UserError
from raysplit.parts.part import field_types, part
from raysplit.protocols.protocol import TrainingProtocol
from tests.toys import SCRATCH, ToyCnn, toy


@part
class TwoClasses(ToyCnn):
    @property
    def classes(self) -> int:
        return 2

    def stages(self) -> list[tuple[str, nn.Module]]:
        return [*super().stages()[:-1], ("fc2", nn.Linear(7, 2))]


@part
class DenseFirst(ToyCnn):
    cut: str | None = "first"
    tail: str | None = "middle"

    @property
    def cuts(self) -> dict[str, str]:
        return {"first": "first"}

    def stages(self) -> list[tuple[str, nn.Module]]:
        first = nn.Sequential(nn.Flatten(), nn.Linear(64, 7), nn.ReLU())
        return [("first", first), ("middle", nn.Sequential(nn.Linear(7, 7), nn.ReLU())), ("last", nn.Linear(7, 5))]


def worlds() -> list[Scenario]:
    """Toys that show everything that an attack may read, or may have learned. An attack that fits none of them needs
    another one here."""
    u_shaped, short = SplitFedV2(u_shaped=True), {"training__rounds": 1}
    two = {"population__classes": 2, "model": TwoClasses("V2", "fc1")}
    return [
        toy(SplitFedV2(), cut="V1", clients=6, **short),
        toy(u_shaped, tail="fc1", clients=3, training__batch_size=1, training__lr=0.01, **short),
        toy(u_shaped, clients=3, **two, **short),
        toy(SplitFedV2(), cut="V1", clients=2, attack=FeatureSpaceHijacking(width=1), checkpoint_every=1),
        toy(u_shaped, cut="V1", tail="fc1", clients=3, attack=GAN, cohort__malicious=0.34, checkpoint_every=1),
        toy(u_shaped, model=DenseFirst(), clients=2, training__batch_size=None, training__optimizer=Sgd(), **short),
    ]


GAN = GanAttack(target=1, latent=6, width=2)


@pytest.fixture(autouse=True)
def short_scores(monkeypatch):
    monkeypatch.setattr("raysplit.analysis.inference.generated.STEPS", 2)


def setups(scenario: Scenario) -> tuple[Setup, Setup]:
    """The trained model in use, and the last round."""
    return Setup(samples=11), Setup(round=scenario.training.rounds, samples=16)


SMALL: dict[str, Any] = {
    **dict.fromkeys(("rounds", "steps", "epochs", "input_steps", "model_steps", "restarts"), 1),
    **dict.fromkeys(("batch_size", "width", "iterations"), 2),
    "queries": 4,
    "training": DecoderTraining(epochs=1),
}
"""Fields that make an attack quick, whatever it finds"""


def attacks() -> list[type[InferenceAttack]]:
    """Every attack in a module of ``raysplit.attacks``."""
    found = set()
    for module in pkgutil.walk_packages(raysplit.attacks.__path__, "raysplit.attacks."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, InferenceAttack) and value is not InferenceAttack:
                found.add(value)
    return sorted(found, key=lambda one: one.__name__)


def forms(kind: type[InferenceAttack]) -> Iterator[InferenceAttack]:
    """One for every different declaration that the attack makes, over all values of its fields that are words or
    switches, and with known samples or without."""
    types, names = field_types(kind), [field.name for field in dataclasses.fields(kind)]
    small = {name: SMALL[name] for name in names if name in SMALL}
    choices = {name: get_args(types[name]) for name in names if get_origin(types[name]) is Literal and name != "goal"}
    choices |= {name: (False, True) for name in names if types[name] is bool}
    choices |= {name: (0, 1) for name in names if name == "known"}
    seen = set()
    for values in itertools.product(*choices.values()):
        try:
            attack = kind(**small, **dict(zip(choices, values, strict=True)))
        except ScenarioError:
            continue
        declared = (attack.reads, attack.needs, attack.reads_labels)
        if declared not in seen:
            seen.add(declared)
            yield attack


@part
class Lacking(Adversary):
    """Holds and knows everything but ``lacks``; its party learned nothing in training."""

    parties: tuple[Any, ...] = ("fed_server",)
    lacks: str = ""

    def channels(self, protocol: TrainingProtocol) -> frozenset[Channel]:
        return frozenset(channel for channel in Channel if channel.value != self.lacks)

    def facts(self, protocol: TrainingProtocol) -> frozenset[Fact]:
        return frozenset(fact for fact in get_args(Fact) if fact != self.lacks)


@functools.cache
def trained(number: int) -> Trained:
    scenario = worlds()[number]
    run = raysplit.run(scenario, engine="local", out=Path(tempfile.mkdtemp(dir=SCRATCH)))
    return read_trained(run.path, scenario)


def world_of(attack: InferenceAttack) -> tuple[Trained, Setup, Inference]:
    """The first world in which an adversary who has everything can carry it out."""
    said = []
    for number, scenario in enumerate(worlds()):
        for setup in setups(scenario):
            try:
                return trained(number), setup, infer_trained(trained(number), attack, Lacking(), setup)
            except UserError as error:
                said.append(str(error))
    raise AssertionError(f"{attack} fits no world; give worlds() another:\n" + "\n".join(said))


def with_less(attack: InferenceAttack, **answers: Any) -> InferenceAttack:
    """The attack, which declares something else of itself."""
    copy = dataclasses.replace(attack)
    properties = {name: property(lambda _, value=value: value) for name, value in answers.items()}
    object.__setattr__(copy, "__class__", type(type(attack).__name__, (type(attack),), properties))
    return copy


CASES = [attack for kind in attacks() for attack in forms(kind)]


@pytest.mark.parametrize("attack", CASES, ids=lambda attack: type(attack).__name__)
def test_an_attack_has_what_it_declares_and_nothing_else(attack):
    run, setup, found = world_of(attack)
    assert len(found.victims) and found.scores
    for lost in (*(channel.value for channel in attack.reads), *attack.needs):
        with pytest.raises(ScenarioError, match=f"(reads|needs to know) '{lost}', which"):
            infer_trained(run, attack, Lacking(lacks=lost), setup)
    fewer: list[dict[str, Any]] = [{"reads": attack.reads - {channel}} for channel in attack.reads]
    fewer += [{"needs": attack.needs - {fact}} for fact in attack.needs]
    fewer += [{"reads_labels": False}] if attack.reads_labels else []
    for answers in fewer:
        with pytest.raises(ScenarioError, match=r"which it does not declare; (add it to|give it)"):
            infer_trained(run, with_less(attack, **answers), Lacking(), setup)


def test_every_public_attack_is_among_them():
    named = {name for name in raysplit.__all__ if isinstance(getattr(raysplit, name), type)}
    public = {name for name in named if issubclass(getattr(raysplit, name), InferenceAttack)}
    assert public and public <= {type(attack).__name__ for attack in CASES}


def test_labels_that_travel_are_held_by_nobody_in_a_u_shape():
    for attack in CASES:
        if attack.reads_labels:
            with pytest.raises(ScenarioError, match="never leave their clients"):
                check_adversary(attack, Lacking(), SplitFedV2(u_shaped=True))


def test_an_attack_that_declares_more_than_it_takes_would_be_noticed():
    boastful = with_less(UnSplit(rounds=1, input_steps=1, model_steps=1), needs=frozenset({"architecture", "queries"}))
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_an_attack_has_what_it_declares_and_nothing_else(boastful)


def test_only_who_hijacked_knows_what_was_learned():
    with pytest.raises(ScenarioError, match="needs to know 'hijack'"):
        check_adversary(HijackedInversion(), Lacking(lacks="hijack"), SplitFedV2(), frozenset({"hijack"}))
