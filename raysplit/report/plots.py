"""Test accuracy over rounds, clean and attacked: what a poisoning does and when it begins."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from raysplit.metrics.run import Run
from raysplit.report.canvas import LIGHT, Theme, apart, new_figure
from raysplit.report.pairs import Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def accuracy_over_rounds(trial: Trial, theme: Theme = LIGHT) -> Figure:
    """Test accuracy in % over rounds, clean and attacked; a vertical line where poisoning starts."""
    figure, (axes,) = new_figure(7.2, 3.2, 1, theme)
    last = max([run.state.rounds for run in (trial.clean, trial.attacked) if run is not None] + [1])
    ends: list[tuple[float, float, str, str]] = []
    for run, name, colour in ((trial.clean, "clean", theme.clean), (trial.attacked, "attacked", theme.attacked)):
        if run is None:
            continue
        rows = [row for row in run.evaluations.to_pylist() if row["split"] == "test"]
        x = [row["round"] for row in rows]
        y = [100 * row["accuracy"] for row in rows]
        axes.plot(x, y, color=colour, linewidth=1.8, marker="o" if len(x) < 25 else None, markersize=3.5, clip_on=False)
        finite = [place for place, value in enumerate(y) if math.isfinite(value)]
        if finite:
            place = finite[-1]
            diverged = ", diverged" if run.summary().diverged else ""
            ends.append((x[place], y[place], f"{name} {y[place]:.1f} %{diverged}", colour))
    axes.set_ylim(0, 100)
    axes.set_xlim(0, last)
    for x_end, height, text, colour in apart(ends, 7.5):
        axes.annotate(
            text,
            (x_end, height),
            xytext=(7, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            fontweight="bold",
            annotation_clip=False,
        )
    start = first_attacked_round(trial.attacked)
    if start is not None:
        axes.axvline(start, color=theme.faint, linewidth=1.1, linestyle=(0, (4, 3)), zorder=0)
        late = start > 0.6 * last
        axes.annotate(
            f"poisoning starts, round {start}",
            (start, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-5 if late else 5, -2),
            textcoords="offset points",
            ha="right" if late else "left",
            va="top",
            color=theme.faint,
            fontsize=8.5,
        )
    axes.set_xlabel("round")
    axes.set_ylabel("test accuracy (%)")
    return figure


def first_attacked_round(run: Run | None) -> int | None:
    """The first round in which malicious clients lied, or None."""
    if run is None:
        return None
    rounds = run.rounds.column("round").to_pylist()
    attacked = run.rounds.column("attacked").to_pylist()
    return min((number for number, lied in zip(rounds, attacked, strict=True) if lied), default=None)
