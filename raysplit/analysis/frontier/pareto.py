"""The Pareto front: who is bettered by nobody."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(costs: Sequence[Sequence[float]]) -> list[bool]:
    """Of points in any number of costs, less being better, which ones no other point dominates: none is at most as
    costly in all and less so in one. Of equal points all are on the front or none."""
    return [not any(_dominates(other, point) for other in costs) for point in costs]


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)
