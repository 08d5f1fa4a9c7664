"""Who holds which classes: a picture of clients by classes, with their sizes above."""

from __future__ import annotations

import itertools
import textwrap
from typing import TYPE_CHECKING

import numpy as np

from raysplit.analysis.report.canvas import LIGHT, Theme, new_column
from raysplit.population.partition.histogram import SkewSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW = 12
"""Up to so many clients, cells carry their numbers."""
MANY = 400
"""Beyond so many clients, they are in order of their main class: in order of id their columns would be noise."""


def class_histogram(counts: np.ndarray, title: str, theme: Theme = LIGHT) -> Figure:
    """``counts``: [clients, classes], as of ``class_counts``. Above: samples of each client; below: its mix of classes.

    A cell's darkness is the class's share of that client's samples.
    """
    clients, classes = counts.shape
    sizes = counts.sum(1)
    mixes = counts / np.maximum(sizes, 1)[:, None]
    order = _by_main_class(mixes) if clients > MANY else np.arange(clients)
    height = float(np.clip(0.9 + 0.17 * classes, 1.9, 6.0))
    figure, (above, below) = new_column(7.2, [1.35, height], theme)
    _sizes(above, sizes[order], theme)
    _mixes(below, figure, mixes[order], counts[order] if clients <= FEW else None, theme)
    below.set_xlabel("client" if clients <= MANY else "clients, in order of their main class and its share")
    summary = SkewSummary.of(counts)
    above.set_title(
        f"{textwrap.fill(title, 100)}\n{clients:,} clients, {summary.samples:,} training samples, "
        f"{summary.classes:.1f} classes a client, mean distance to the whole {summary.distance:.2f}",
        loc="left",
        fontsize=9.5,
        color=theme.ink,
    )
    return figure


def _by_main_class(mixes: np.ndarray) -> np.ndarray:
    """Clients by the class that they have most of, and within it by how much."""
    main = mixes.argmax(1)
    return np.lexsort((-mixes.max(1), main))


def _sizes(axes: Axes, sizes: np.ndarray, theme: Theme) -> None:
    clients = len(sizes)
    edges = np.arange(clients + 1) - 0.5
    if clients <= MANY:
        axes.bar(np.arange(clients), sizes, width=0.8 if clients <= 40 else 1.0, color=theme.clean, linewidth=0)
    else:
        # More clients than dots: the median of as many neighbours as fall on a dot or so, and the range around it.
        cuts = np.linspace(0, clients, 301).astype(int)
        groups = [sizes[a:b] for a, b in itertools.pairwise(cuts)]
        low, middle, high = (np.array([np.quantile(g, q) for g in groups]) for q in (0, 0.5, 1))
        axes.fill_between(
            (cuts[:-1] + cuts[1:] - 1) / 2, low, high, color=theme.clean, alpha=0.25, linewidth=0, step="mid"
        )
        axes.step((cuts[:-1] + cuts[1:] - 1) / 2, middle, where="mid", color=theme.clean, linewidth=0.9)
    axes.axhline(float(sizes.mean()), color=theme.faint, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_ylabel("samples")
    axes.set_ylim(0, max(1.0, 1.06 * float(sizes.max())))
    axes.set_xlim(edges[0], edges[-1])
    axes.tick_params(labelbottom=False)


def _mixes(axes: Axes, figure: Figure, mixes: np.ndarray, numbers: np.ndarray | None, theme: Theme) -> None:
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm
    from matplotlib.ticker import MaxNLocator

    clients, classes = mixes.shape
    shades = LinearSegmentedColormap.from_list("shares", [theme.paper, theme.clean, theme.ink])
    top = max(float(mixes.max()), 1e-9)
    image = axes.imshow(
        mixes.T,
        aspect="auto",
        origin="lower",
        cmap=shades,
        norm=PowerNorm(0.5, 0, top),  # square roots: small shares of many classes stay visible beside large ones
        interpolation="nearest" if clients <= MANY else "antialiased",
        extent=(-0.5, clients - 0.5, -0.5, classes - 0.5),
    )
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(True)
    axes.set_ylabel("class")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=min(classes, 12), integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    if numbers is not None and classes <= 30:
        for client in range(clients):
            for c in range(classes):
                if numbers[client, c]:
                    dark = (mixes[client, c] / top) ** 0.5 > 0.4
                    axes.text(
                        client,
                        c,
                        f"{numbers[client, c]:,}",
                        ha="center",
                        va="center",
                        fontsize=7,
                        color=theme.paper if dark else theme.ink,
                    )
    bar = figure.colorbar(image, ax=axes, pad=0.015, aspect=30, fraction=0.05)
    bar.set_label("share of the client's samples", color=theme.ink)
    bar.ax.tick_params(colors=theme.ink)
    bar.outline.set_visible(False)
