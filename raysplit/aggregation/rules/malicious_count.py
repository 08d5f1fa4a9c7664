"""How many malicious clients f a rule reckons with, and who told it."""

from __future__ import annotations

from typing import Any, Literal

from raysplit.aggregation.rule import RoundContext
from raysplit.errors import ScenarioError
from raysplit.parts.part import within

# "actual": the true number in this very cohort (an oracle); "assumed": what the operator expects; or a fixed number.
Malicious = Literal["actual", "assumed"] | int


def check_malicious(rule: Any) -> None:
    """Raise ScenarioError where a rule's ``malicious`` is a number below 0."""
    if isinstance(rule.malicious, int):
        within(f"{type(rule).__name__}.malicious", rule.malicious, 0)


def minority(rule: Any, n: int, context: RoundContext) -> int:
    """f for this cohort of n, of a rule with a ``malicious``; raises ScenarioError where 2f ≥ n."""
    f = malicious_count(rule.malicious, context)
    if 2 * f >= n:
        raise ScenarioError(
            f"{type(rule).__name__} needs more than {2 * f} updates against {f} malicious clients, but it has {n}"
        )
    return f


def malicious_count(malicious: Malicious, context: RoundContext) -> int:
    """f for this cohort."""
    if isinstance(malicious, int):
        return malicious
    return {"assumed": context.assumed, "actual": context.actual}[malicious]
