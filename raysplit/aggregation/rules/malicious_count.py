"""The number f of malicious clients against which a rule is set up in a round, and where it comes from."""

from __future__ import annotations

from raysplit.aggregation.rule import AggregationPart, MaliciousCount, RoundContext
from raysplit.errors import ScenarioError
from raysplit.parts.part import within


def check_f(part: AggregationPart) -> None:
    """Raise ScenarioError where ``part.f`` is a number below 0."""
    if isinstance(part.f, int):
        within(f"{type(part).__name__}.f", part.f, 0)


def count_of(f: MaliciousCount, context: RoundContext) -> int:
    """f for this cohort."""
    if isinstance(f, int):
        return f
    return {"assumed": context.assumed, "actual": context.actual}[f]


def require_updates(part: AggregationPart, n: int, f: int) -> None:
    """Raise ScenarioError where ``n`` updates are fewer than ``part`` needs against ``f`` malicious clients."""
    least = part.least_clients(f)
    if n < least:
        raise ScenarioError(
            f"{type(part).__name__} needs at least {least} updates against {f} malicious clients, but it has {n}"
        )


def minority(part: AggregationPart, f: MaliciousCount, n: int, context: RoundContext) -> int:
    """f for this cohort of n; raises ScenarioError where 2f ≥ n."""
    count = count_of(f, context)
    require_updates(part, n, count)
    return count
