"""What an audit would show of a mechanism that is exactly as it claims: without that, silence means little."""

from __future__ import annotations

import numpy as np

from raysplit import rng
from raysplit.analysis.audit.one_run import best, guessed
from raysplit.analysis.audit.setup import Setup

_DRAWS = 5


def expected_bound(
    multiplier: float, rate: float | None, applications: int, setup: Setup, canaries: int, scores: int, delta: float
) -> float:
    """The median over 5 imagined audits of a Gaussian mechanism whose canaries have a direction each and nothing else in
    it: a canary's score is N(0, Tσ²), and of one that is in one more for every batch that it was in, of T =
    ``applications`` at rate q (None: all of them). ``multiplier`` = σ."""
    found = []
    for draw in range(_DRAWS):
        stream = rng.stream(setup.seed, "audit_power", draw)
        coins = stream.random(canaries) < 0.5
        times = np.full(canaries, applications) if rate is None else stream.binomial(applications, rate, canaries)
        values = coins * times + stream.standard_normal(canaries) * multiplier * applications**0.5
        blind = {f"blind {i}": stream.random(canaries) for i in range(scores - 1)}
        found.append(best(guessed({"direction": values, **blind}, coins, delta, setup.confidence)).epsilon)
    return float(np.median(found))
