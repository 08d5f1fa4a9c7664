"""Test accuracy over rounds, clean and attacked: what a poisoning does and when it begins."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from raysplit.analysis.report.canvas import LIGHT, Theme, apart, new_figure, whole_rounds
from raysplit.analysis.report.pairs import Trial
from raysplit.analysis.runs.run import Run

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
    whole_rounds(axes, last)
    axes.set_ylabel("test accuracy (%)")
    return figure


def spread_over_rounds(run: Run, theme: Theme = LIGHT) -> Figure:
    """Left: median, quartiles and tenths of the clients' test accuracies, %. Right: coefficient of variation, train and
    test (Thapa et al. 2022, Figure 4)."""
    figure, (left, right) = new_figure(7.2, 2.8, 2, theme, sharey=False)
    rows = [row for row in run.evaluations.to_pylist() if row["client_accuracy_p50"] is not None]
    x = [row["round"] for row in rows]
    for low, high, strength in ((10, 90, 0.18), (25, 75, 0.3)):
        below, above = ([100 * row[f"client_accuracy_p{p}"] for row in rows] for p in (low, high))
        left.fill_between(
            x, below, above, color=theme.clean, alpha=strength, linewidth=0, label=f"{low}th to {high}th percentile"
        )
    left.plot(x, [100 * row["client_accuracy_p50"] for row in rows], color=theme.clean, linewidth=1.8, label="median")
    left.plot(
        x, [100 * row["client_accuracy_worst_decile"] for row in rows],
        color=theme.attacked, linewidth=1.4, linestyle=(0, (4, 2)), label="mean of the worst tenth",
    )  # fmt: skip
    left.set_ylim(0, 100)
    left.set_ylabel("test accuracy of a client (%)")
    tested = [math.nan if row["client_accuracy_cv"] is None else row["client_accuracy_cv"] for row in rows]
    right.plot(x, tested, color=theme.clean, linewidth=1.8, label="test clients")
    trained = train_variation(run)
    right.plot(
        list(trained), list(trained.values()), color=theme.series[1], linewidth=1.2, label="training, the cohort"
    )
    right.set_ylim(bottom=0)
    right.set_ylabel("coefficient of variation (%)")
    for axes in (left, right):
        whole_rounds(axes, max([*x, *trained, 1]))
        axes.legend(frameon=False, fontsize=8, labelcolor=theme.ink)
    return figure


def train_variation(run: Run) -> dict[int, float]:
    """Round → 100 sd / mean of the training accuracies of the round's clients; rounds of one client are left out."""
    frame = run.clients.select(["round", "train_accuracy"]).to_pandas().dropna()
    found = frame.groupby("round")["train_accuracy"].agg(["mean", "std", "count"])
    found = found[(found["count"] > 1) & (found["mean"] > 0)]
    return {int(number): float(100 * row["std"] / row["mean"]) for number, row in found.iterrows()}


def first_attacked_round(run: Run | None) -> int | None:
    """The first round in which malicious clients attacked, or None."""
    if run is None:
        return None
    rounds = run.rounds.column("round").to_pylist()
    attacked = run.rounds.column("attacked").to_pylist()
    return min((number for number, lied in zip(rounds, attacked, strict=True) if lied), default=None)
