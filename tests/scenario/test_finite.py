"""Numbers that have no canonical form are refused when a scenario is built, wherever in it they are."""

from __future__ import annotations

import math

import pytest

from raysplit import Adam, CentredClipping, Sgd, SplitFedV2
from raysplit.errors import ScenarioError
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
