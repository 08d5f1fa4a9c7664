"""What random scenarios found (tools/fuzz_scenarios.py): each is refused in a sentence when the scenario is built."""

from __future__ import annotations

import math

import pytest

from raysplit import (
    Adam,
    CentredClipping,
    LittleIsEnough,
    OptimalInnerProductManipulation,
    Sgd,
    Sglr,
    SmashedAscent,
    Speeds,
    SplitFedV2,
    Training,
    VerticalSplit,
)
from raysplit.errors import ScenarioError
from raysplit.parts.part import matches
from raysplit.training.optimizers import OptimizerSpec
from tests.toys import toy


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize(
    ("field", "part"),
    [
        ("training__lr", lambda number: number),
        ("training__optimizer", lambda number: Sgd(weight_decay=number)),
        ("training__server_optimizer", lambda number: Adam(eps=number)),
        ("defense", lambda number: CentredClipping(number)),
    ],
)
def test_an_infinite_number_or_none_is_refused_by_name(field, part, number):
    with pytest.raises(ScenarioError, match=r"must be|above 0"):
        toy(SplitFedV2(), **{field: part(number)})


def test_the_sentence_names_the_part_and_the_field():
    with pytest.raises(ScenarioError, match=r"Training\.lr must be a finite number, but it is inf"):
        toy(SplitFedV2(), training__lr=math.inf)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("optimizer", SmashedAscent(step=1.0)),  # its step is a number
        ("server_optimizer", OptimalInnerProductManipulation()),
        ("schedule", LittleIsEnough()),
    ],
)
def test_a_part_that_merely_has_a_field_of_the_name_is_not_taken_for_another_kind(field, wrong):
    with pytest.raises(ScenarioError, match=rf"Training\.{field} must be"):
        Training(rounds=1, lr=0.1, **{field: wrong})


def test_an_own_optimizer_is_taken_by_what_it_answers():
    class Own:
        def step(self, parameters, gradients, state, lr):
            pass

    class TooFew:
        def step(self, parameters):
            pass

    assert matches(Own(), OptimizerSpec) and not matches(TooFew(), OptimizerSpec) and not matches(Own, OptimizerSpec)


def test_blocks_that_a_head_cannot_take_are_refused_with_the_number_of_parties():
    with pytest.raises(ScenarioError, match="among 8 parties, which leaves blocks that ToyCnn's head cannot take"):
        toy(VerticalSplit(parties=8))


def test_speeds_beyond_what_floats_hold_are_refused():
    with pytest.raises(ScenarioError, match=r"Speeds\.sigma"):
        Speeds(sigma=1e30)
    with pytest.raises(ScenarioError, match=r"Sglr\.lr_exponent"):
        Sglr(lr_exponent=1e30)
