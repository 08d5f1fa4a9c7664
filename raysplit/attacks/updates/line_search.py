"""The line search by which ByzFL's "optimal" attacks choose their factor (Allouah et al. 2023, Fixing by mixing,
experiments)."""

from __future__ import annotations

from collections.abc import Callable

from raysplit.errors import ScenarioError


def line_search(
    loss: Callable[[float], float], start: float, step: float, ratio: float, evaluations: int
) -> tuple[float, float]:
    """The best factor found and its loss, after ``evaluations`` calls.

    From ``start``, steps ``step``, 2·``step``, … are taken for as long as each is an improvement; then steps that
    shrink by ``ratio`` are tried from the best factor. It only ever moves in the direction of ``step``.
    """
    best, most = start, loss(start)
    expanding = True
    for _ in range(evaluations - 1):
        value = loss(best + step)
        better = value > most
        if better:
            best, most = best + step, value
        expanding = expanding and better
        step *= 2 if expanding else ratio
    return best, most


def check_search(attack: str, evaluations: int, step: float, ratio: float) -> None:
    """Raise ScenarioError unless the search can end somewhere else than where it starts."""
    if evaluations < 1:
        raise ScenarioError(f"{attack}.evaluations must be at least 1, but it is {evaluations}")
    if not 0 < step < float("inf"):
        raise ScenarioError(f"{attack}.step must be above 0 and finite, but it is {step}")
    if not 0 < ratio < 1:
        raise ScenarioError(f"{attack}.ratio must be above 0 and below 1, but it is {ratio}")
