"""How long a call of an actor may take: measured on earlier calls of its kind, with a floor that a loaded laptop does
not reach."""

from __future__ import annotations

FIRST_S = 1800.0
"""Of the first call of a kind, of which nothing is known yet."""
FLOOR_S = 120.0
FACTOR = 10.0
"""Of the longest earlier call of the kind, and of its work."""
_LEAST = {"aggregation": FIRST_S}
"""Kinds whose calls differ more than by their work: rules and attacks that have something to do in some rounds only."""


class Deadlines:
    """Deadlines of one engine's calls, in seconds. ``given``: the same for all, instead of what is measured."""

    def __init__(self, given: float | None = None) -> None:
        self._given = given
        self._longest: dict[str, tuple[float, float]] = {}

    def of(self, kind: str, work: float) -> float:
        """max(``FLOOR_S``, ``FACTOR`` · s · max(1, ``work`` / w)), where s [s] is the longest earlier call of the kind
        and w its work, in any unit, such as samples; ``FIRST_S`` where there was none."""
        if self._given is not None:
            return self._given
        if kind not in self._longest:
            return FIRST_S
        seconds, most = self._longest[kind]
        return max(_LEAST.get(kind, FLOOR_S), FACTOR * seconds * max(1.0, work / max(most, 1.0)))

    def start(self, least: float) -> float:
        """Of an actor that is started: ``least``, or longer where more was given."""
        return max(least, self._given or 0.0)

    def took(self, kind: str, work: float, seconds: float) -> None:
        """A call of a kind has ended in time."""
        if seconds > self._longest.get(kind, (0.0, 0.0))[0]:
            self._longest[kind] = (seconds, work)
