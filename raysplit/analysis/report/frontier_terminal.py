"""A frontier for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from raysplit.analysis.frontier.measured import Measured
from raysplit.analysis.frontier.measures import on_front, present
from raysplit.analysis.report.frontier import FRONT, Axes, over, shown


def frontier_table(points: Sequence[Measured], axes: Axes) -> Table:
    """A row a point, a column a measure that any point has; a star where it is on the front."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, pad_edge=False, collapse_padding=True)
    for head in ("cut", "defence"):
        table.add_column(head, no_wrap=True)
    measures = present(points)
    for measure in measures:
        table.add_column(f"{measure.head}{' %' if measure.percent else ''}", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    above = ""
    for point, mark in zip(points, on_front(points, axes.front), strict=True):
        cut = "" if point.point.cut == above else point.point.cut
        above = point.point.cut
        cells = [shown(measure, measure.of(point)) for measure in measures]
        end = FRONT if mark else "" if point.clean.status == "finished" else point.clean.status
        table.add_row(cut, point.point.defense, *cells, end)
    return table


def notes(points: Sequence[Measured], axes: Axes) -> list[str]:
    """What the star means, what a guess reaches, and why holes are holes."""
    lines = [
        f"{FRONT}: on the Pareto front of {over(axes)}: no other point is as good in all of them and better in one."
    ]
    guesses = [point.guess_ssim for point in points if point.guess_ssim is not None]
    if guesses:
        lines.append(
            f"The best image that needs no message has an SSIM of {max(guesses):.2f}; below it the front counts none as better."
        )
    whose: dict[str, list[str]] = {}
    for point in points:
        for why in point.why:
            whose.setdefault(why, []).append(point.label)
    return lines + [f"{_some(labels)}: {why}" for why, labels in whose.items()]


def _some(labels: Sequence[str]) -> str:
    """Points by name, or three of them and how many more there are."""
    return "; ".join(labels[:3]) + (f" and {len(labels) - 3} more" if len(labels) > 3 else "")
