"""A user's own rule, step or attack is held to its contract where its answer is taken: a sentence, never a broadcast."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from raysplit import CRFL, Bucketing, Composed, Mean, Median, StartAtRound
from raysplit.aggregation.rule import Aggregate, AggregationRule
from raysplit.aggregation.rules.composed import LinearPreAggregation, Mixed, PreAggregation
from raysplit.aggregation.update_attack import Poison, UpdateAttack, updates_threat
from raysplit.channels.channel import ThreatModel
from raysplit.errors import ScenarioError
from raysplit.parts.part import part
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.fedavg import FedAvg
from tests.toys import play, toy

ANSWER: list[Any] = [None]
"""What the parts below give back: a function of what they were shown."""
UPDATES = torch.arange(15.0).reshape(5, 3)
MEAN = UPDATES.mean(0)


@part
class Mine(AggregationRule):
    def aggregate(self, updates, weights, context):
        return ANSWER[0](updates)


@part
class Step(PreAggregation):
    def mix(self, updates, weights, context):
        return ANSWER[0](Mixed(updates, weights, context, torch.eye(len(updates), dtype=torch.bool)))


@part
class LinearStep(LinearPreAggregation):
    def mixing(self, geometry, weights, context):
        return ANSWER[0](Bucketing(1).mixing(geometry, weights, context))


@part
class Sender(UpdateAttack):
    threat_model: ClassVar[ThreatModel] = updates_threat("partial")

    def poison(self, view):
        return ANSWER[0](view.own)


WRONG_AGGREGATES = [
    (
        lambda u: u.mean(0),
        r"must return an Aggregate, but it returned a Tensor; write return Aggregate\(update\)$",
    ),
    (lambda u: u.mean(0).numpy(), r"but it returned a ndarray; write return Aggregate"),
    (lambda u: None, r"but it returned a NoneType$"),
    (lambda u: Aggregate(u), r"must return Aggregate\.update as a floating-point tensor \[\d+\], but it is float32 \["),
    (lambda u: Aggregate(u.mean()), r"but it is float32 \[\]$"),
    (lambda u: Aggregate(u.mean(0)[:1]), r"but it is float32 \[1\]$"),
    (lambda u: Aggregate(u.mean(0).numpy()), r"but it is a ndarray\[\d+\]$"),
    (lambda u: Aggregate(u.mean(0).long()), r"but it is int64 \[\d+\]$"),
    (
        lambda u: Aggregate(u[0], selected=torch.ones(2, dtype=torch.bool)),
        r"Aggregate\.selected as a bool tensor \[\d\]",
    ),
    (lambda u: Aggregate(u[0], selected=torch.ones(len(u))), r"or None, but it is float32 \[\d\]$"),
    (
        lambda u: Aggregate(u[0], record={"broken": "yes"}),
        r"Aggregate\.record as numbers by name, but under 'broken' it ",
    ),
    (lambda u: Aggregate(u[0], record=[1.0]), r"Aggregate\.record as numbers by name, but it is a list$"),
    (
        lambda u: Aggregate(u[0], memory={"last": u[0].numpy()}),
        r"memory as tensors by name, but under 'last' it has a nd",
    ),
    (lambda u: Aggregate(u.sub_(1)[0]), r"^Mine\.aggregate\(\) changed the updates that it was shown; work on a copy$"),
]


@pytest.mark.parametrize(("answer", "sentence"), WRONG_AGGREGATES)
def test_what_no_rule_can_return_is_one_sentence_wherever_the_rule_stands(answer, sentence):
    ANSWER[0] = answer
    places = [Mine(), Composed((), Mine()), StartAtRound(Mine(), 1), CRFL(1.0, Mine())]
    for rule in places:
        with pytest.raises(ScenarioError, match=sentence) as caught:
            rule(UPDATES.clone(), portion=torch.zeros(3))
        assert str(caught.value).startswith("Mine.aggregate() ")
    with pytest.raises(ScenarioError, match=sentence):
        play(toy(FedAvg(), defense=Mine()))


def test_a_rule_that_changes_the_precision_is_refused():
    ANSWER[0] = lambda u: Aggregate(u.double().mean(0))
    with pytest.raises(
        ScenarioError, match=r"^Mine must return an update of the updates' own kind, torch\.float32 on cpu,"
    ):
        play(toy(FedAvg(), defense=Mine()))


def test_a_rule_that_keeps_its_contract_is_taken_as_it_is():
    ANSWER[0] = lambda u: Aggregate(
        u.mean(0), {"broken": True, "mine": np.float32(1)}, torch.ones(len(u)).bool(), {"m": u[0]}
    )
    assert Mine()(UPDATES).equal(MEAN) and CRFL(99.0, Mine(), noise=0.0)(UPDATES, portion=torch.zeros(3)).equal(MEAN)
    assert play(toy(FedAvg(), defense=Mine())).tables["aggregation"]["broken"].to_pylist() == [True, True]


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (lambda mixed: mixed.updates, r"^Step\.mix\(\) must return a Mixed, but it returned float32 \[5, 3\]$"),
        (
            lambda mixed: replace(mixed, updates=mixed.updates[:, :1]),
            r"Mixed\.updates as a .* \[5, 3\], but it is float32 \[",
        ),
        (
            lambda mixed: replace(mixed, weights=mixed.weights[:2]),
            r"Mixed\.weights as a floating-point tensor \[5\], but it",
        ),
        (
            lambda mixed: replace(mixed, members=mixed.members.float()),
            r"Mixed\.members as a bool tensor \[5, 5\], but it is ",
        ),
    ],
)
def test_what_no_step_before_a_rule_can_return_is_one_sentence(answer, sentence):
    ANSWER[0] = answer
    with pytest.raises(ScenarioError, match=sentence):
        Composed((Step(),), Median())(UPDATES)
    with pytest.raises(ScenarioError, match=sentence):
        Step()(UPDATES)


def test_what_no_linear_step_can_return_is_one_sentence():
    ANSWER[0] = lambda mixing: replace(mixing, matrix=mixing.matrix[0])
    with pytest.raises(
        ScenarioError, match=r"^LinearStep\.mixing\(\) must return Mixing\.matrix as a .* \[5, 5\], but it is"
    ):
        Composed((LinearStep(),), Mean())(UPDATES)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            lambda own: own,
            r"^Sender\.poison\(\) must return a Poison, but it returned float32 \[3, 5\]; write return Poison",
        ),
        (
            lambda own: Poison(own[0]),
            r"a row for each malicious client, but there is one row \[5\]; for clones send row\.exp",
        ),
        (lambda own: Poison(own[:1]), r"Poison\.rows as a floating-point tensor \[3, 5\], but it is float32 \[1, 5\]$"),
        (lambda own: Poison(own[:, :1]), r"but it is float32 \[3, 1\]$"),
        (lambda own: Poison(own.numpy()), r"but it is a ndarray\[3, 5\]$"),
        (lambda own: Poison(own.long()), r"but it is int64 \[3, 5\]$"),
        (lambda own: Poison(own, [1.0]), r"Poison\.record as numbers by name, but it is a list$"),
    ],
)
def test_what_no_attack_can_send_is_one_sentence(answer, sentence):
    ANSWER[0] = answer
    with pytest.raises(ScenarioError, match=sentence):
        Sender()(torch.ones(3, 5))
    with pytest.raises(ScenarioError, match=sentence.replace("5", r"\d+")):
        play(toy(FedAvg(), cohort=Cohort(6, 0.5, "cohort"), attack=Sender()))


def test_one_row_expanded_is_sent_by_all_malicious_clients():
    ANSWER[0] = lambda own: Poison(own[0].double().expand(len(own), -1))
    assert Sender()(UPDATES).equal(UPDATES[0].expand(5, 3))
    assert not play(toy(FedAvg(), cohort=Cohort(6, 0.5, "cohort"), attack=Sender())).diverged
