"""The bound from one run, against its formula written out, closed forms, and randomised response."""

from __future__ import annotations

import math

import numpy as np
import pytest

from raysplit import rng
from raysplit.analysis.audit.one_run import guessed, largest_possible, p_value, refuted


def written_out(epsilon: float, delta: float, m: int, r: int, v: int) -> float:
    """Steinke et al. 2023, theorem 5.2, term by term."""
    q = math.exp(epsilon) / (1 + math.exp(epsilon))
    pmf = [math.comb(r, k) * q**k * (1 - q) ** (r - k) for k in range(r + 1)]
    alpha = max((sum(pmf[v - i : v]) / i for i in range(1, v + 1)), default=0.0)
    return min(1.0, sum(pmf[v:]) + 2 * m * delta * alpha)


@pytest.mark.parametrize("delta", [0.0, 1e-5, 1e-3])
def test_p_values_are_those_of_the_theorem(delta: float) -> None:
    for epsilon, m, r, v in [(0.0, 100, 40, 30), (1.0, 100, 40, 35), (2.0, 60, 60, 57), (0.5, 30, 10, 0)]:
        assert p_value(epsilon, delta, m, r, v) == pytest.approx(written_out(epsilon, delta, m, r, v), abs=1e-12)


def test_the_bound_of_guesses_that_are_all_right_is_a_closed_form() -> None:
    """ln(p/(1−p)) with p = level^(1/r): 5.8 for 1,000 guesses, 3.5 for 100."""
    for r, level in [(1000, 0.05), (100, 0.05), (48, 0.01)]:
        p = level ** (1 / r)
        assert refuted(2 * r, r, r, 0.0, level) == pytest.approx(math.log(p / (1 - p)), abs=1e-4)
    assert refuted(100, 100, 50, 1e-5, 0.05) == 0.0
    assert refuted(100, 0, 0, 1e-5, 0.05) == 0.0


def test_delta_can_only_lower_a_bound() -> None:
    bounds = [refuted(500, 200, 180, delta, 0.05) for delta in (0.0, 1e-6, 1e-4, 1e-3)]
    assert bounds == sorted(bounds, reverse=True) and bounds[0] > bounds[-1]


def test_randomised_response_is_not_refuted_more_often_than_the_confidence_allows() -> None:
    """It is exactly ε-private and answers each coin by itself, the worst case of the theorem."""
    epsilon, m, wrong = 1.0, 400, 0
    for draw in range(100):
        stream = rng.stream(draw, "test")
        coins = stream.random(m) < 0.5
        told = np.where(stream.random(m) < 1 / (1 + math.exp(-epsilon)), coins, ~coins)
        found = guessed({"answer": told + 0.1 * stream.random(m)}, coins, 0.0, 0.95)
        wrong += max(guesses.epsilon for guesses in found) > epsilon
    assert wrong <= 5


def test_no_audit_shows_more_than_its_guesses_can() -> None:
    coins = np.arange(200) % 2 == 0
    found = guessed({"all": coins.astype(float), "nothing": np.zeros(200)}, coins, 1e-5, 0.95)
    assert max(guesses.epsilon for guesses in found) == largest_possible(200, 2, 1e-5, 0.95)
    assert len({guesses.confidence for guesses in found}) == 1 and found[0].confidence == pytest.approx(0.995)
