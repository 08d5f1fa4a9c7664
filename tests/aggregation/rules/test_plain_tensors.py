"""Rules and attacks that are called with plain tensors do what they do in a round, and say what they miss."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from raysplit import (
    CRFL,
    AdaptiveRobustClipping,
    AgrTailored,
    Bucketing,
    Bulyan,
    Composed,
    Fang,
    FangKrum,
    FLTrust,
    FoolsGold,
    GaussianNoise,
    GeometricMedian,
    Krum,
    LittleIsEnough,
    Mean,
    MeanAroundMedian,
    Median,
    MinMax,
    ModelReplacement,
    MultiKrum,
    NearestNeighbourMixing,
    OptimalLittleIsEnough,
    SignFlip,
    SignGuard,
    StartAtRound,
    TrimmedMean,
)
from raysplit.aggregation.rule import RoundContext, check_clients, rule_stream
from raysplit.aggregation.update_attack import UpdateView
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.rng import stream
from tests.attacks.updates.cohorts import gaussian

N, D = 12, 23
RULES = [
    Mean(),
    TrimmedMean(f=2),
    Median(),
    Krum(f=2),
    GeometricMedian(),
    SignGuard(),
    FLTrust(),
    FoolsGold(),
    CRFL(bound=3.0),
    Composed((Bucketing(2), NearestNeighbourMixing(f=1)), TrimmedMean(f=1)),
    StartAtRound(Median(), start_round=1),
]


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_call_is_the_full_form_with_nothing_but_defaults(rule):
    updates, reference, portion = gaussian(N, D), gaussian(1, D, 5)[0], gaussian(1, D, 6)[0]
    context = RoundContext(1, np.arange(N), 0, 0, rule_stream(7, 1, Channel.UPDATES), {}, reference, portion)
    weights = torch.full((N,), 1 / N, dtype=updates.dtype)
    plain = rule(updates, reference=reference, portion=portion, seed=7)
    assert plain.equal(rule.aggregate(updates, weights, context).update)
    assert plain.equal(rule(updates, reference=reference, portion=portion, seed=7))


def test_weights_may_be_numbers_of_samples():
    updates = gaussian(3, D)
    expected = 0.5 * updates[0] + 0.25 * updates[1] + 0.25 * updates[2]
    torch.testing.assert_close(Mean()(updates, weights=[20, 10, 10]), expected)


def test_a_rule_with_memory_goes_on_from_what_it_remembers():
    updates = gaussian(4, D)
    remembered = {str(client): 100 * updates[2] for client in (0, 1)}  # two that always pulled the same way
    assert not FoolsGold()(updates, memory=remembered).allclose(FoolsGold()(updates))


def test_a_rule_that_starts_later_is_the_mean_before():
    updates, rule = gaussian(5, D), StartAtRound(Median(), start_round=3)
    assert rule(updates, round=2).equal(Mean()(updates)) and rule(updates, round=3).equal(Median()(updates))


def test_a_step_before_a_rule_makes_rows():
    updates = gaussian(N, D)
    rows = AdaptiveRobustClipping(f=2)(updates)
    assert rows.shape == (N, D) and Bucketing(5)(updates).shape == (3, D)
    torch.testing.assert_close(Composed((AdaptiveRobustClipping(f=2),), Median())(updates), Median()(rows))


UPDATES = gaussian(N, D)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Median()(list(UPDATES)), r"as one tensor \[n, d\], but they are a list; torch.stack"),
        (lambda: Median()(UPDATES[0]), r"its shape is \[23\]"),
        (lambda: Median()(UPDATES[:0]), r"at least one row and one column, but its shape is \[0, 23\]"),
        (lambda: Median()(UPDATES.long()), r"their dtype is torch.int64; use updates.float\(\)"),
        (lambda: TrimmedMean()(UPDATES), r"TrimmedMean\(f='actual'\) cannot know .* give f a number, as in Trimmed"),
        (lambda: Composed((Bucketing(2),), Krum("n-f-2", "assumed"))(UPDATES), r"Krum\(f='assumed'\) cannot know"),
        (lambda: NearestNeighbourMixing()(UPDATES), r"NearestNeighbourMixing\(f='actual'\) cannot know"),
        (lambda: FLTrust()(UPDATES), "give reference="),
        (lambda: FLTrust()(UPDATES, reference=UPDATES), r"reference must have the shape \[23\]"),
        (lambda: CRFL(1.0)(UPDATES), "give portion="),
        (lambda: Mean()(UPDATES, weights=[1.0, 2.0]), "weights must be 12 numbers"),
        (lambda: Krum(f=5)(UPDATES), "Krum needs at least 13 updates against 5 malicious clients, but it has 12"),
        (lambda: MinMax()(UPDATES), "give m=, or own="),
        (lambda: MinMax()(UPDATES, m=13), "m must be at least 1, and at most 12 where own= is not given"),
        (
            lambda: MinMax()(UPDATES, m=2, own=UPDATES[:3]),
            "own must be the honest updates of the adversary's 2 clients",
        ),
        (lambda: MinMax()(UPDATES.int(), m=2), "floating-point"),
        (lambda: MinMax()(UPDATES, m=2, n=9), "so it is at least 14, but it is 9"),
        (lambda: AgrTailored()(UPDATES, m=2), "AgrTailored goes by the rule in place: give rule="),
        (lambda: ModelReplacement(OptimalLittleIsEnough())(UPDATES, m=2), "goes by the rule in place"),
    ],
)
def test_what_is_missing_or_wrong_gets_one_sentence(call, words):
    with pytest.raises(ScenarioError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("attack", "rule"),
    [
        (SignFlip(), None),
        (GaussianNoise(), None),
        (LittleIsEnough(), None),
        (Fang(), None),
        (MinMax(), None),
        (AgrTailored(), TrimmedMean()),
        (AgrTailored(), Krum()),
        (FangKrum(), Krum()),
        (OptimalLittleIsEnough(evaluations=5), Composed((NearestNeighbourMixing(),), Median())),
    ],
    ids=repr,
)
def test_a_called_attack_sends_what_it_poisons_with(attack, rule):
    updates, m = gaussian(N, D), 3
    trim = None if rule is None else rule.trim_count(N, m, m)
    rows = attack(updates[m:], own=updates[:m], rule=rule, seed=4)
    context = RoundContext(1, np.arange(N), m, m, rule_stream(4, 1, Channel.UPDATES))
    view = UpdateView(updates[m:], updates[:m], N, rule or Mean(), trim, 1, stream(4, "attack", 1), context)
    if attack.threat_model.knowledge == "partial":
        view = replace(view, benign=updates[:0])
    assert rows.shape == (m, D) and rows.equal(attack.poison(view).rows)
    assert updates.equal(gaussian(N, D)), "what it was shown stays as it is"


def test_an_attack_that_sees_its_own_updates_alone_needs_no_others():
    own = gaussian(4, D)
    assert SignFlip()(own).equal(-own) and SignFlip()(own, m=2).equal(-own[:2])
    assert Fang(knowledge="partial")(own).shape == (4, D)


LEAST = [
    (Mean(), 1),
    (Median(), 1),
    (TrimmedMean(), 5),
    (TrimmedMean(f=3), 7),
    (Krum(), 7),
    (Krum("n-f-1"), 5),
    (MultiKrum(select=9), 9),
    (MeanAroundMedian(), 5),
    (Bulyan(), 11),
    (Composed((NearestNeighbourMixing(),), Mean()), 5),
    (Composed((Bucketing(2),), Krum()), 13),
    (Composed((Bucketing(3), NearestNeighbourMixing()), Krum("n-f-1")), 13),
    (CRFL(1.0, Krum()), 7),
]


@pytest.mark.parametrize(("rule", "least"), LEAST, ids=lambda value: repr(value) if not isinstance(value, int) else "")
def test_a_rule_needs_exactly_as_many_updates_as_it_says(rule, least):
    def aggregate(n):
        context = RoundContext(1, np.arange(n), 2, 2, np.random.default_rng(0), portion=torch.zeros(D))
        return rule.aggregate(gaussian(n, D), torch.full((n,), 1 / n, dtype=torch.float64), context)

    assert rule.least_clients(2) == least and StartAtRound(rule, 3).least_clients(2) == least
    aggregate(least)
    check_clients(rule, least, 2)
    check_clients(StartAtRound(rule, 3), least, 2)
    if least > 1:
        with pytest.raises(ScenarioError):
            aggregate(least - 1)
        for late in (rule, StartAtRound(rule, 3)):
            with pytest.raises(
                ScenarioError, match=rf"at least {least} updates .*, but a buffer of {least - 1} brings"
            ):
                check_clients(late, least - 1, 2, "buffer")
