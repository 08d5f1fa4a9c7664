"""The pictures of a sweep's tables: attacks against rules, shaded."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from raysplit.analysis.report.canvas import LIGHT, Theme, new_figure
from raysplit.analysis.report.numbers import NONE, percent
from raysplit.analysis.report.sweep import CLEAN, Cell, Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Show = Literal["accuracy", "drop"]


def shaded(tables: Sequence[Grid], show: Show, theme: Theme = LIGHT) -> Figure:
    """A panel a table: test accuracy in %, or the drop in points, darker where the attack does more harm; one scale for
    all panels."""
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    attacks = [attack for attack in _all([grid.attacks for grid in tables]) if show == "accuracy" or attack != CLEAN]
    rules = _all([grid.rules for grid in tables])
    values = [
        [[_value(grid.cells.get((attack, rule)), show) for rule in rules] for attack in attacks] for grid in tables
    ]
    known = [value for rows in values for row in rows for value in row if math.isfinite(value)] or [0.0]
    longest = max(len(attack) for attack in attacks)
    width = 1.0 + 0.075 * longest + len(tables) * (0.6 + 0.5 * len(rules))
    figure, panels = new_figure(max(width, 4.6), 1.9 + 0.3 * len(attacks), len(tables), theme)
    ends = [theme.attacked, theme.paper] if show == "accuracy" else [theme.paper, theme.attacked]
    shades = LinearSegmentedColormap.from_list("harm", ends).with_extremes(bad="#8883")
    low = min(known) if show == "accuracy" else 0.0
    scale = Normalize(low, max(max(known), low + 0.01), clip=True)
    for grid, rows, axes in zip(tables, values, panels, strict=True):
        axes.imshow(rows, cmap=shades, norm=scale, aspect="auto")
        for down, row in enumerate(rows):
            for across, value in enumerate(row):
                dark = math.isfinite(value) and abs(scale(value) - (show == "accuracy")) > 0.72
                cell = grid.cells.get((attacks[down], rules[across]))
                text = "" if cell is None else percent(value) + cell.marks if math.isfinite(value) else NONE
                colour = theme.paper if dark else theme.ink
                axes.text(across, down, text, ha="center", va="center", fontsize=8, color=colour)
        axes.set_title(grid.title, fontsize=9.5, fontweight="bold", color=theme.ink)
        axes.set_xticks(
            range(len(rules)),
            [rule.replace(" + ", " +\n") for rule in rules],
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


def _all(lists: Sequence[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(name for names in lists for name in names))


def _value(cell: Cell | None, show: Show) -> float:
    found = [] if cell is None else cell.accuracies if show == "accuracy" else cell.drops
    return statistics.fmean(found) if found else math.nan
