"""The pictures of a sweep's tables: attacks against rules, shaded."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from raysplit.analysis.report.canvas import LETTER, LIGHT, Theme, head_panel, new_figure
from raysplit.analysis.report.numbers import NONE, percent
from raysplit.analysis.report.sweep import CLEAN, Cell, Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Show = Literal["accuracy", "drop"]


def shaded(tables: Sequence[Grid], show: Show, among: Sequence[Grid], theme: Theme = LIGHT) -> Figure:
    """A panel a table: test accuracy in %, or the drop in points, darker where the attack does more harm; one scale for
    all that are ``among`` the pictures of a report."""
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    attacks = [attack for attack in _all([grid.attacks for grid in tables]) if show == "accuracy" or attack != CLEAN]
    rules = _all([grid.rules for grid in tables])
    values = [
        [[_value(grid.cells.get((attack, rule)), show) for rule in rules] for attack in attacks] for grid in tables
    ]
    every = [_value(cell, show) for grid in among for cell in grid.cells.values()]
    known = [value for value in every if math.isfinite(value)] or [0.0]
    longest, deepest = max(len(attack) for attack in attacks), max(len(line) for rule in rules for line in _lines(rule))
    panel_width = max(0.6 + 0.5 * len(rules), 2.4, 3.6 / len(tables))
    titles = -(-max(len(grid.title) for grid in tables) // max(1, int(panel_width / LETTER)))
    height = 1.3 + 0.3 * len(attacks) + 0.045 * deepest + 0.16 * titles
    figure, panels = new_figure(1.0 + 0.075 * longest + len(tables) * panel_width, height, len(tables), theme)
    ends = [theme.attacked, theme.paper] if show == "accuracy" else [theme.paper, theme.attacked]
    shades = LinearSegmentedColormap.from_list("harm", ends).with_extremes(bad="#8883")
    # A tenth at least from pale to dark: what differs by less must not look like harm.
    top = max(known)
    scale = Normalize(min(*known, top - 0.1), top) if show == "accuracy" else Normalize(0, max(top, 0.1), clip=True)
    for grid, rows, axes in zip(tables, values, panels, strict=True):
        axes.imshow(rows, cmap=shades, norm=scale, aspect="auto")
        for down, row in enumerate(rows):
            for across, value in enumerate(row):
                dark = math.isfinite(value) and abs(scale(value) - (show == "accuracy")) > 0.72
                cell = grid.cells.get((attacks[down], rules[across]))
                text = "" if cell is None else percent(value) + cell.marks if math.isfinite(value) else NONE
                colour = theme.paper if dark else theme.ink
                axes.text(across, down, text, ha="center", va="center", fontsize=8, color=colour)
        head_panel(axes, grid.title, panel_width, theme)
        axes.set_xticks(
            range(len(rules)),
            ["\n".join(_lines(rule)) for rule in rules],
            rotation=38,
            ha="right",
            rotation_mode="anchor",
        )
        axes.set_yticks(range(len(attacks)), attacks)
        axes.grid(False)
        axes.tick_params(length=0, labelsize=8.5)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return figure


def _lines(rule: str) -> list[str]:
    """A rule's name in short lines: after each pre-aggregation, and before its arguments."""
    return (
        textwrap.wrap(rule, 30, break_long_words=False)
        if " + " not in rule
        else rule.replace(" + ", " +\n").split("\n")
    )


def _all(lists: Sequence[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(name for names in lists for name in names))


def _value(cell: Cell | None, show: Show) -> float:
    found = [] if cell is None else cell.accuracies if show == "accuracy" else cell.drops
    return statistics.fmean(found) if found else math.nan
