"""By what points are compared: the axes of the plot, and what the Pareto front is over."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from raysplit.analysis.frontier.measured import Measured
from raysplit.analysis.frontier.pareto import pareto_front
from raysplit.errors import ScenarioError, nearest


@dataclass(frozen=True)
class Measure:
    """``name``: as on the command line; ``head``: of a column; ``axis``: of the plot; ``more_is_better``: for whom the
    system is for; ``percent``: whether fractions are shown as percentages, ``of``: its value at a point; ``compared``:
    what the front goes by, where that is another one."""

    name: str
    head: str
    axis: str
    more_is_better: bool
    percent: bool
    of: Callable[[Measured], float | None]
    compared: Callable[[Measured], float | None] | None = None

    def cost(self, point: Measured) -> float | None:
        """Less is better; None where it is not known, or no number."""
        value = (self.compared or self.of)(point)
        return None if value is None or not math.isfinite(value) else -value if self.more_is_better else value


def _ssim_beyond_guess(point: Measured) -> float | None:
    """At least that of the best image that needs no message, which an adversary has without an attack."""
    return None if point.ssim is None else max(point.ssim, point.guess_ssim or point.ssim)


def _error_within_guess(point: Measured) -> float | None:
    """At most 1, the mean auxiliary image's."""
    return None if point.error is None else min(point.error, 1.0)


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("accuracy", "accuracy", "test accuracy of the clean run (%)", True, True, lambda m: m.accuracy),
        Measure("drop", "drop", "accuracy lost under the attack (points)", False, True, lambda m: m.drop),
        Measure(
            "ssim",
            "SSIM",
            "SSIM of what the strongest attack finds",
            False,
            False,
            lambda m: m.ssim,
            _ssim_beyond_guess,
        ),
        Measure(
            "identified",
            "identified",
            "images identified by the strongest attack (%)",
            False,
            True,
            lambda m: m.identified,
        ),
        Measure(
            "error",
            "error",
            "squared error of the strongest attack, mean image = 1",
            True,
            False,
            lambda m: m.error,
            _error_within_guess,
        ),
        Measure("labels", "labels", "labels that the strongest attack finds (%)", False, True, lambda m: m.labels),
        Measure("auc", "leak AUC", "leak AUC of the strongest attack", False, False, lambda m: m.auc),
        Measure(
            "membership", "membership", "membership AUC of the strongest attack", False, False, lambda m: m.membership
        ),
        Measure("bytes", "bytes", "bytes a round, all clients", False, False, lambda m: m.bytes),
        Measure("time", "virtual", "virtual time of a round (s)", False, False, lambda m: m.virtual_s),
        Measure("epsilon", "ε", "largest ε of a client", False, False, lambda m: m.epsilon),
    )
}
LEAKS = ("ssim", "labels", "auc", "membership")
"""What is plotted as leakage where nothing is asked for: the first of these that any attack measured."""


def measures_named(names: Sequence[str], option: str) -> list[Measure]:
    """Raises ``ScenarioError`` for a name that is none."""
    for name in names:
        if name not in MEASURES:
            raise ScenarioError(f"{option} knows no measure {name!r}; {nearest(name, MEASURES)}")
    return [MEASURES[name] for name in names]


def present(points: Sequence[Measured]) -> list[Measure]:
    """Measures that some point has, in their order."""
    return [measure for measure in MEASURES.values() if any(measure.of(point) is not None for point in points)]


def usual_axis(points: Sequence[Measured]) -> str:
    """What is plotted against accuracy where nothing is asked for: leakage, else the drop, else bytes."""
    there = {measure.name for measure in present(points)}
    return next((name for name in (*LEAKS, "drop") if name in there), "bytes")


def on_front(points: Sequence[Measured], measures: Sequence[Measure]) -> list[bool]:
    """Which points no other point betters in ``measures``, among those that have all of them and whose clean run has not
    diverged."""
    costs: dict[int, list[float]] = {}
    for place, point in enumerate(points):
        known = [cost for cost in (measure.cost(point) for measure in measures) if cost is not None]
        if len(known) == len(measures) and point.clean.status == "finished":
            costs[place] = known
    kept = dict(zip(costs, pareto_front(list(costs.values())), strict=True))
    return [kept.get(place, False) for place in range(len(points))]
