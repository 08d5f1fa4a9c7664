"""The plot of a frontier: one point a cut and defence, colour by defence, marker by cut, the Pareto front marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from raysplit.analysis.frontier.measured import Measured
from raysplit.analysis.frontier.measures import Measure, on_front
from raysplit.analysis.report.canvas import LIGHT, Theme, new_figure
from raysplit.analysis.report.frontier import FRONT, Axes
from raysplit.analysis.report.numbers import seconds, size

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Panel
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
Place = tuple[float, float]
_LIGHT = ("#1c1e21", "#0072b2", "#d55e00", "#007a5a", "#a8548a", "#b26b00", "#4b9cd3", "#c0262d", "#6b7079", "#5b3fa0")
_DARK = ("#e4e6ea", "#56b4e9", "#f28e4b", "#2fc49b", "#e5a3c6", "#e69f00", "#a5d8ff", "#ff6b6b", "#9aa1ac", "#b8a2f2")


def frontier_figure(points: Sequence[Measured], axes: Axes, theme: Theme = LIGHT) -> Figure:
    """Points that have both measures; those of the front have a ring and their names."""
    colours = _LIGHT if theme is LIGHT else _DARK
    figure, (panel,) = new_figure(8.6, 4.9, 1, theme)
    cuts = list(dict.fromkeys(point.point.cut for point in points))
    defenses = list(dict.fromkeys(point.point.defense for point in points))
    front = []
    for point, mark in zip(points, on_front(points, axes.front), strict=True):
        at = _place(point, axes)
        if at is None:
            continue
        panel.plot(
            *at,
            MARKERS[cuts.index(point.point.cut) % len(MARKERS)],
            color=colours[defenses.index(point.point.defense) % len(colours)],
            markersize=7.5,
            markeredgecolor=theme.paper,
            markeredgewidth=0.7,
            zorder=3,
        )
        if mark:
            front.append((at, point.label))
    _guess(panel, points, axes, theme)
    _label(axes.x, panel.set_xlabel, panel.set_xscale, panel.xaxis)
    _label(axes.y, panel.set_ylabel, panel.set_yscale, panel.yaxis)
    panel.grid(True, axis="both")
    panel.margins(0.08, 0.1)
    _draw_front(panel, front, axes, theme)
    _legends(figure, panel, cuts, defenses, colours, theme)
    return figure


def _label(measure: Measure, label: Callable[[str], object], scale: Callable[[str], None], axis: Axis) -> None:
    """What an axis shows; bytes and times in powers, with their units."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    label(f"{measure.axis}, {'more' if measure.more_is_better else 'less'} is better")
    form = {"bytes": size, "time": seconds}.get(measure.name)
    if form is not None:
        scale("log")
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))
        axis.set_minor_formatter(NullFormatter())


def _place(point: Measured, axes: Axes) -> Place | None:
    x, y = _value(axes.x, point), _value(axes.y, point)
    return None if x is None or y is None else (x, y)


def _value(measure: Measure, point: Measured) -> float | None:
    value = measure.of(point)
    return None if value is None else 100 * value if measure.percent else value


def _draw_front(panel: Panel, front: list[tuple[Place, str]], axes: Axes, theme: Theme) -> None:
    """Rings and names; where the front is over the two axes alone, also the staircase that bounds what is dominated."""
    ordered = sorted(front)
    if {measure.name for measure in axes.front} == {axes.x.name, axes.y.name} and len(ordered) > 1:
        where: Literal["pre", "post"] = "pre" if axes.x.more_is_better else "post"
        xs, ys = zip(*(at for at, _ in ordered), strict=True)
        panel.step(xs, ys, where=where, color=theme.faint, linewidth=1.1, linestyle=(0, (4, 3)), zorder=1)
    for at, _ in ordered:
        panel.plot(
            *at, "o", markersize=13, markerfacecolor="none", markeredgecolor=theme.ink, markeredgewidth=1.1, zorder=2
        )
    if not ordered:
        return
    in_points = (panel.transScale + panel.transLimits).transform([at for at, _ in ordered]) * _PANEL
    towards = (1 if axes.x.more_is_better else -1, 1 if axes.y.more_is_better else -1)
    placed = beside([(place, name) for place, (_, name) in zip(in_points.tolist(), ordered, strict=True)], towards)
    for (at, name), offset in zip(ordered, placed, strict=True):
        if offset is None:
            continue
        panel.annotate(
            name,
            at,
            xytext=offset,
            textcoords="offset points",
            ha="left" if offset[0] > 0 else "right",
            va="center",
            fontsize=_FONT,
            color=theme.ink,
            zorder=4,
            arrowprops={"arrowstyle": "-", "color": theme.faint, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 7},
        )


_PANEL, _FONT = (400.0, 300.0), 8.0
"""How large the panel is about, and its letters, in points: names are kept apart by that"""


def beside(labels: Sequence[tuple[Sequence[float], str]], towards: tuple[int, int]) -> list[Place | None]:
    """Where names stand, as offsets in points from the places [x, y] of what they name: on the side ``towards`` which
    things get better, where nothing is that is not named, and further off where another name is in the way; None where
    there is no room. A name is on the other side in x where it would leave the panel."""
    taken: list[tuple[float, float, float]] = []
    found: list[Place | None] = []
    for (x, y), name in labels:
        width, across = 0.58 * _FONT * len(name), towards[0]
        if not 0 <= x + across * (10 + width) <= _PANEL[0] * (1 if across < 0 else 1.08):
            across = -across
        left = x + 10 if across > 0 else x - 10 - width
        steps = (towards[1] * (9 + 4 * step) for step in range(16))
        offset = next(
            (
                dy
                for dy in steps
                if all(abs(y + dy - at) > 1.35 * _FONT or left + width < a or left > b for a, b, at in taken)
            ),
            None,
        )
        found.append(None if offset is None else (10.0 * across, float(offset)))
        if offset is not None:
            taken.append((left, left + width, y + offset))
    return found


def _guess(panel: Panel, points: Sequence[Measured], axes: Axes, theme: Theme) -> None:
    """Where the best guess without any message stands."""
    guesses = [point.guess_ssim for point in points if point.guess_ssim is not None]
    if not guesses or "ssim" not in (axes.x.name, axes.y.name):
        return
    upright = axes.x.name == "ssim"
    line = panel.axvline if upright else panel.axhline
    line(max(guesses), color=theme.faint, linewidth=0.9, linestyle=":", zorder=0)
    panel.annotate(
        "best guess without a message",
        (max(guesses), 1) if upright else (0, max(guesses)),
        xycoords=("data", "axes fraction") if upright else ("axes fraction", "data"),
        xytext=(-3, -4) if upright else (4, 3),
        textcoords="offset points",
        rotation=90 if upright else 0,
        ha="right" if upright else "left",
        va="top" if upright else "bottom",
        color=theme.faint,
        fontsize=8,
    )


def _legends(
    figure: Figure, panel: Panel, cuts: list[str], defenses: list[str], colours: Sequence[str], theme: Theme
) -> None:
    from matplotlib.lines import Line2D

    def entry(marker: str, colour: str, name: str, ring: bool = False) -> Line2D:
        face = "none" if ring else colour
        return Line2D(
            [],
            [],
            linestyle="",
            marker=marker,
            color=colour,
            markerfacecolor=face,
            markersize=11 if ring else 7,
            label=name,
        )

    by_defense = [entry("o", colours[n % len(colours)], name) for n, name in enumerate(defenses)]
    by_cut = [entry(MARKERS[n % len(MARKERS)], theme.faint, name) for n, name in enumerate(cuts)]
    by_cut.append(entry("o", theme.ink, f"Pareto front ({FRONT})", ring=True))
    for title, handles, y in (("defence", by_defense, 1.0), ("cut", by_cut, 0.0)):
        legend = panel.legend(
            handles=handles,
            title=title,
            loc="upper left" if y else "lower left",
            bbox_to_anchor=(1.01, y),
            frameon=False,
            fontsize=8.5,
            labelcolor=theme.ink,
            alignment="left",
        )
        legend.get_title().set_color(theme.ink)
        if y:
            panel.add_artist(legend)
