"""How many malicious clients f a rule reckons with, and who told it."""

from __future__ import annotations

from typing import Any, Literal

from raysplit.defenses.aggregation.aggregation import RoundContext
from raysplit.parts import within

# "realised": the true number in this very cohort (an oracle); "declared": what the operator expects; or a fixed number.
Malicious = Literal["realised", "declared"] | int


def check_malicious(rule: Any) -> None:
    """Raise ScenarioError where a rule's ``malicious`` is a number below 0."""
    if isinstance(rule.malicious, int):
        within(f"{type(rule).__name__}.malicious", rule.malicious, 0)


def malicious_count(malicious: Malicious, context: RoundContext) -> int:
    """f for this cohort."""
    if isinstance(malicious, int):
        return malicious
    return {"declared": context.declared, "realised": context.realised}[malicious]
