"""What all pictures share: two themes, one plain style, and bytes that are equal for equal figures."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Theme:
    """Colours as hex texts. Blue and vermilion (Okabe and Ito) stay apart for every kind of colour vision."""

    ink: str
    faint: str
    paper: str
    clean: str
    attacked: str
    baseline: str
    series: tuple[str, ...]


LIGHT = Theme(
    ink="#1c1e21",
    faint="#6b7079",
    paper="#ffffff",
    clean="#0072b2",
    attacked="#d55e00",
    baseline="#c0262d",
    series=("#0072b2", "#b26b00", "#007a5a", "#a8548a"),
)
DARK = Theme(
    ink="#e4e6ea",
    faint="#9aa1ac",
    paper="#17191d",
    clean="#56b4e9",
    attacked="#f28e4b",
    baseline="#ff6b6b",
    series=("#56b4e9", "#e69f00", "#2fc49b", "#e5a3c6"),
)


def new_figure(
    width: float, height: float, panels: int, theme: Theme, sharey: bool = True
) -> tuple[Figure, list[Axes]]:
    """A figure (size in inches) and its panels in a row, without pyplot: no global state, no window, nothing to
    close."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_style(theme)):
        figure = Figure(figsize=(width, height), layout="constrained", facecolor=theme.paper)
        axes = figure.subplots(1, panels, sharey=sharey, squeeze=False)
    return figure, list(axes[0])


def new_column(width: float, heights: Sequence[float], theme: Theme) -> tuple[Figure, list[Axes]]:
    """A figure and panels of these ``heights`` (inches) one above the other on one x axis, as ``new_figure``."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_style(theme)):
        figure = Figure(figsize=(width, sum(heights)), layout="constrained", facecolor=theme.paper)
        axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=list(heights))
    return figure, [row[0] for row in axes]


def _style(theme: Theme) -> Any:
    return {
        "font.size": 9.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": theme.faint,
        "axes.labelcolor": theme.ink,
        "axes.facecolor": theme.paper,
        "axes.axisbelow": True,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "grid.color": theme.faint,
        "grid.alpha": 0.25,
        "xtick.color": theme.faint,
        "ytick.color": theme.faint,
        "xtick.labelcolor": theme.ink,
        "ytick.labelcolor": theme.ink,
    }


LETTER = 0.083
"""Inches that a letter of a bold title is wide, on average."""


def head_panel(axes: Axes, text: str, width: float, theme: Theme) -> None:
    """A panel's title, in as many lines as a panel of ``width`` inches needs."""
    lines = textwrap.fill(text, max(12, int(width / LETTER)), break_on_hyphens=False)
    axes.set_title(lines, fontsize=9.5, fontweight="bold", color=theme.ink)


def whole_rounds(axes: Axes, last: int) -> None:
    """An x axis of rounds from 0 to ``last``, with marks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(0, last)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.set_xlabel("round")


def png(figure: Figure, dots_per_inch: int = 200) -> bytes:
    """The figure as PNG; equal figures give equal bytes."""
    return _bytes(figure, "png", {"Software": None}, dots_per_inch)


def svg(figure: Figure) -> bytes:
    """The figure as SVG with outlined text, so that it needs no font; equal figures give equal bytes."""
    return _bytes(figure, "svg", {"Date": None, "Creator": None})


def apart(ends: Sequence[tuple[float, float, str, str]], gap: float) -> list[tuple[float, float, str, str]]:
    """The labels, from the lowest up, moved up where they would be less than ``gap`` above the one below."""
    placed: list[tuple[float, float, str, str]] = []
    for x, y, text, colour in sorted(ends, key=lambda end: end[1]):
        placed.append((x, max(y, placed[-1][1] + gap) if placed else y, text, colour))
    return placed


def _bytes(figure: Figure, form: str, metadata: dict[str, None], dots_per_inch: float = 100) -> bytes:
    import matplotlib

    sink = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "raysplit"}):
        figure.savefig(sink, format=form, metadata=metadata, dpi=dots_per_inch)
    return sink.getvalue()
