"""A frontier's table: a row a point, with what it is compared by and whether it is on the front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from raysplit.analysis.frontier.leakage import Leak
from raysplit.analysis.frontier.measured import Measured
from raysplit.analysis.frontier.measures import Measure, measures_named, on_front, present, usual_axis
from raysplit.analysis.report.numbers import percent, seconds, significant, size

FRONT = "★"
"""Marks a point of the front."""


@dataclass(frozen=True)
class Axes:
    """``x``, ``y``: of the plot; ``front``: what the front is over, these two unless others were asked for."""

    x: Measure
    y: Measure
    front: tuple[Measure, ...]


def axes_of(points: Sequence[Measured], x: str | None, y: str | None, front: str | None) -> Axes:
    """By names of measures, ``front`` with commas between them; None: leakage against accuracy. Raises ``ScenarioError``
    for a name that is none."""
    down = measures_named([y or "accuracy"], "--y")[0]
    across = measures_named([x or usual_axis(points)], "--x")[0]
    over = [across.name, down.name] if front is None else [name.strip() for name in front.split(",")]
    return Axes(across, down, tuple(measures_named(list(dict.fromkeys(over)), "--front")))


def over(axes: Axes) -> str:
    """What the front is over, in words."""
    return " and ".join(
        f"{measure.head} ({'more' if measure.more_is_better else 'less'} is better)" for measure in axes.front
    )


def shown(measure: Measure, value: float | None) -> str:
    """A measure's value as a reader wants it, without the sign of per cent."""
    if measure.percent:
        return percent(value)
    if measure.name == "bytes":
        return size(value)
    if measure.name == "time":
        return seconds(value)
    return significant(value, 2 if value is not None and abs(value) < 10 else 3)


def rows_of(points: Sequence[Measured], axes: Axes) -> pa.Table:
    """A row a point, raw numbers; the last columns are bytes a round by channel."""
    marks = on_front(points, axes.front)
    every = on_front(points, present(points))
    channels = list(dict.fromkeys(channel for point in points for channel in point.channel_bytes))
    rows = [_row(*one, channels) for one in zip(points, marks, every, strict=True)]
    columns = [(name, pa.string()) for name in _TEXTS] + [(name, pa.bool_()) for name in _FLAGS]
    columns += [(name, pa.float64()) for name in (*_FLOATS, *(f"bytes_{channel}" for channel in channels))]
    return pa.Table.from_pylist(rows, pa.schema([pa.field(name, kind) for name, kind in columns]))


_TEXTS = (
    "cut", "defense", "scenario", "folder", "digest", "status", "poisoned_folder", "poisoned_digest", "poisoned_status",
    "strongest", "why",
)  # fmt: skip
_FLAGS = ("on_front", "on_front_of_all")
_FLOATS = (
    "accuracy", "poisoned_accuracy", "drop", "ssim", "guess_ssim", "identified", "error", "labels", "auc", "membership",
    "bytes", "virtual_s", "epsilon",
)  # fmt: skip


def _row(point: Measured, mark: bool, every: bool, channels: Sequence[str]) -> dict[str, Any]:
    clean, attacked = point.clean, point.attacked
    return {
        "cut": point.point.cut,
        "defense": point.point.defense,
        "scenario": point.point.name,
        "folder": None if clean.run is None else clean.run.path.name,
        "digest": None if clean.run is None else clean.run.state.digest,
        "status": clean.status,
        "poisoned_folder": None if attacked.run is None else attacked.run.path.name,
        "poisoned_digest": None if attacked.run is None else attacked.run.state.digest,
        "poisoned_status": attacked.status,
        "strongest": "; ".join(f"{measure}: {attack}" for measure, attack in point.strongest.items()) or None,
        "why": "; ".join(point.why) or None,
        "on_front": mark,
        "on_front_of_all": every,
        "accuracy": point.accuracy,
        "poisoned_accuracy": attacked.accuracy,
        "drop": point.drop,
        "ssim": point.ssim,
        "guess_ssim": point.guess_ssim,
        "identified": point.identified,
        "error": point.error,
        "labels": point.labels,
        "auc": point.auc,
        "membership": point.membership,
        "bytes": point.bytes,
        "virtual_s": point.virtual_s,
        "epsilon": point.epsilon,
        **{f"bytes_{channel}": point.channel_bytes.get(channel) for channel in channels},
    }


def leak_cells(points: Sequence[Measured]) -> tuple[list[str], list[list[str]]]:
    """A row an attack and a point: cut, defence, attack, and its scores, each with the best guess's in brackets; and the
    metrics that head them."""
    metrics = [metric for metric in _SCORED if any(leak.score(metric) is not None for p in points for leak in p.leaks)]
    rows = []
    for point in points:
        for leak in point.leaks:
            cells = [_beside_guess(leak, metric) for metric in metrics]
            rows.append([point.point.cut, point.point.defense, leak.attack, *cells])
    return metrics, rows


_SCORED = (
    "SSIM", "MSE", "identified", "labels right", "labels right, best naming", "leak AUC", "AUC", "accuracy with the clone",
)  # fmt: skip


def _beside_guess(leak: Leak, metric: str) -> str:
    value, guesses = leak.score(metric), leak.guesses(metric)
    if value is None:
        return ""
    best = (min if metric == "MSE" else max)(guesses, default=None)
    return (
        significant(value)
        if best is None or metric.startswith("accuracy")
        else f"{significant(value)} ({significant(best)})"
    )


def leak_rows(points: Sequence[Measured]) -> list[dict[str, Any]]:
    """A row a score: of every attack and every guess at every point."""
    return [
        {
            "cut": point.point.cut,
            "defense": point.point.defense,
            "attack": leak.attack,
            "of": of,
            "metric": metric,
            "value": value,
        }
        for point in points
        for leak in point.leaks
        for (of, metric), value in leak.scores.items()
    ]
