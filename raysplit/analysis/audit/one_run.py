"""A lower bound of ε from one run (Steinke, Nasr, Jagielski 2023, arXiv 2305.08846): m canaries are each in or out by a
fair coin, an auditor guesses some of the coins from what was released, and abstains on the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SHARES = ((0.05, 0.05), (0.2, 0.2), (0.5, 0.5), (0.1, 0.0), (0.25, 0.0))
"""Which guesses are tried: of all canaries, the share with the highest scores as "in", and with the lowest as "out"."""


class Guesses(NamedTuple):
    """What was guessed by ``score``, and the ε that it refutes. ``canaries`` = m; ``said_in``, ``said_out``: guesses;
    ``correct`` of them; ``epsilon``: every smaller ε, with the audit's δ, is refuted at ``confidence``."""

    score: str
    canaries: int
    said_in: int
    said_out: int
    correct: int
    epsilon: float
    confidence: float

    @property
    def made(self) -> int:
        return self.said_in + self.said_out


def p_value(epsilon: float, delta: float, canaries: int, guesses: int, correct: int) -> float:
    """How probable at least ``correct`` of ``guesses`` are at most, where training is (ε, δ)-private: P[B ≥ v] + 2mδα
    with B ~ Bin(r, e^ε/(1+e^ε)) and α = max_i P[v > B ≥ v−i]/i (theorem 5.2 and its algorithm in the appendix)."""
    from scipy.special import bdtrc, gammaln  # type: ignore[import-untyped]

    right = 1 / (1 + math.exp(-epsilon))
    tail = float(bdtrc(correct - 1, guesses, right)) if correct else 1.0
    if not correct or not delta:
        return tail
    fewer = np.arange(correct - 1, -1, -1)
    choices = gammaln(guesses + 1) - gammaln(fewer + 1) - gammaln(guesses - fewer + 1)
    exactly = np.exp(choices + fewer * math.log(right) + (guesses - fewer) * math.log1p(-right))
    alpha = float((exactly.cumsum() / np.arange(1, correct + 1)).max())  # P[v > B ≥ v − i], i = 1 … v
    return min(1.0, tail + 2 * canaries * delta * alpha)


def refuted(canaries: int, guesses: int, correct: int, delta: float, level: float) -> float:
    """The largest ε whose p-value is at most ``level``, to 1e-4; 0 where not even ε = 0 is refuted."""
    if guesses == 0 or p_value(0.0, delta, canaries, guesses, correct) > level:
        return 0.0
    low, high = 0.0, 1.0
    while high < 64 and p_value(high, delta, canaries, guesses, correct) <= level:
        low, high = high, 2 * high
    while high - low > 1e-4:
        middle = (low + high) / 2
        if p_value(middle, delta, canaries, guesses, correct) <= level:
            low = middle
        else:
            high = middle
    return low


def guessed(
    scores: dict[str, np.ndarray],
    coins: np.ndarray,
    delta: float,
    confidence: float,
    shares: Sequence[tuple[float, float]] = SHARES,
) -> list[Guesses]:
    """One for every score and share. ``scores``: float64 [m] each, higher for "in"; ``coins``: bool [m].

    Each bound holds at 1 − (1 − ``confidence``)/J, where J is how many there are: so the largest of them holds at
    ``confidence``.
    """
    level = (1 - confidence) / (len(scores) * len(shares))
    found = []
    for name, values in scores.items():
        order = np.argsort(values, kind="stable")
        for top, bottom in shares:
            said_in, said_out = int(top * len(coins)), int(bottom * len(coins))
            right = int(coins[order[len(order) - said_in :]].sum() + (~coins[order[:said_out]]).sum())
            bound = refuted(len(coins), said_in + said_out, right, delta, level)
            found.append(Guesses(name, len(coins), said_in, said_out, right, bound, 1 - level))
    return found


def best(found: Sequence[Guesses]) -> Guesses:
    """The largest bound."""
    return max(found, key=lambda guesses: guesses.epsilon)


def largest_possible(canaries: int, scores: int, delta: float, confidence: float) -> float:
    """What would be shown if every guess were right: no audit of so many canaries can show more."""
    level = (1 - confidence) / (scores * len(SHARES))
    return max(
        refuted(canaries, made, made, delta, level)
        for made in (int(top * canaries) + int(bottom * canaries) for top, bottom in SHARES)
    )
