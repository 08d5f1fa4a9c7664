"""NaN, infinite and huge rows, which an adversary is free to send; and docs/non-finite.md says what comes of them."""

import os
from pathlib import Path

import torch

from raysplit import (
    CRFL,
    Bucketing,
    Composed,
    FoolsGold,
    GeometricMedian,
    Mean,
    Median,
    NearestNeighbourMixing,
    SecureAggregation,
)
from raysplit.aggregation.rule import AggregationRule, all_parts
from raysplit.analysis.matrix.parts import named_in
from raysplit.storage.atomic import write_bytes
from tests.aggregation.rules.non_finite import KINDS, found, page, rules

PAGE = Path(__file__).resolve().parents[3] / "docs" / "non-finite.md"


def test_the_page_says_what_was_found():
    text = page()
    if os.environ.get("RAYSPLIT_WRITE_NON_FINITE"):
        write_bytes(PAGE, text.encode())
    assert PAGE.read_text() == text


def test_every_rule_and_step_of_the_tree_is_on_the_page():
    shown = {type(part).__name__ for rule in rules(2) for part in all_parts(rule)}
    assert shown == set(named_in("aggregation.rules"))


def test_no_rule_lets_such_rows_move_the_model_anywhere_but_those_of_which_the_page_says_why():
    moved = {repr(rule) for number, rule in enumerate(rules(2)) for kind in KINDS if found(number, kind) in BAD}
    assert moved == {
        repr(rule)
        for rule in rules(2)
        if rule in (Mean(), FoolsGold(), GeometricMedian(start="mean"), SecureAggregation()) or mixes(rule)
    }
    spoilt = {repr(rule) for number, rule in enumerate(rules(2)) for kind in KINDS if found(number, kind) == "NaN"}
    assert spoilt == {repr(rule) for rule in rules(2) if rule == Mean() or mixes(rule)}


BAD = ("huge", "NaN")


def mixes(rule: AggregationRule) -> bool:
    """Whether it ends in the mean of mixed rows, of which no length is clipped."""
    *steps, last = [part for part in all_parts(rule) if not isinstance(part, Composed)]
    return last == Mean() and any(isinstance(step, NearestNeighbourMixing | Bucketing) for step in steps)


def test_crfl_gives_rows_that_are_not_finite_no_weight_and_stays_where_it_is_without_others():
    updates = torch.tensor([[1.0, 2.0], [3.0, 0.0], [torch.nan, 0.0], [torch.inf, 1.0]])
    rule = CRFL(bound=9.0, noise=0.0)
    start = torch.tensor([1.0, 1.0])
    weights = [1.0, 3.0, 2.0, 2.0]
    assert rule(updates, weights=weights, portion=start).equal(Mean()(updates[:2], weights=weights[:2]))
    assert rule(updates[2:], portion=start).equal(torch.zeros(2))
    inner = CRFL(bound=9.0, rule=Median(), noise=0.0)(updates, portion=torch.zeros(2))
    assert inner.equal(Median()(updates))  # which has its own way with them
