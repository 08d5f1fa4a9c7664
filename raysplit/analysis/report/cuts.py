"""The table and the picture of ``raysplit cuts``: a row a cut, a panel a cost."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from raysplit.analysis.cuts.cuts import Cut, CutTable
from raysplit.analysis.cuts.leakage import Leakage
from raysplit.analysis.report.canvas import LIGHT, Theme, new_figure, png
from raysplit.analysis.report.files import csv_text, write_files
from raysplit.analysis.report.numbers import percent, seconds, significant, size
from raysplit.errors import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def cuts_table(table: CutTable) -> Table:
    """For a terminal."""
    shown = Table(
        title=_title(table),
        title_justify="left",
        caption="\n".join(notes(table)),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
    shown.add_column("cut after", overflow="fold")
    heads = ["client's\nweights", "step's\nFLOPs", "smashed\na sample", "bytes a\nround", "virtual\nround"]
    heads += ["client\nstep", "server\nstep"] + (
        [f"accuracy\n{counted(table.rounds, 'round')}"] if table.rounds is not None else []
    )
    heads += ["leaks:\nMSE", "\nSSIM"] if table.attack is not None else []
    for head in heads:
        shown.add_column(head, justify="right", no_wrap=True)
    for row in table.cuts:
        cells = [
            _name(row),
            share(row.parameter_share) + " %",
            share(row.flops_share) + " %",
            size(row.smashed_bytes),
            size(row.round_bytes),
            seconds(row.virtual_s),
            seconds(row.client_step_s),
            seconds(row.server_step_s),
        ]
        cells += [f"{percent(row.accuracy)} %"] if table.rounds is not None else []
        cells += [] if row.leakage is None else [f"{row.leakage.mse:.3f}", f"{row.leakage.ssim:.2f}"]
        shown.add_row(*cells)
    return shown


def surface_table(table: CutTable) -> Table:
    """For a terminal: how many numbers a malicious client controls, by channel."""
    shown = Table(
        title="what a malicious client controls in a round",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
    shown.add_column("cut after", overflow="fold")
    u_shaped = table.scenario.protocol.u_shaped
    portion = "handover" if table.scenario.protocol.client_sync == "handover" else "updates"
    for head in (f"floats on\n{portion}", "\nsmashed", "feature\ngradients" if u_shaped else "\nlabels"):
        shown.add_column(head, justify="right", no_wrap=True)
    for row in table.cuts:
        last = row.feature_gradient_floats if u_shaped else row.labels
        shown.add_row(_name(row), *(f"{round(count):,}" for count in (row.update_floats, row.smashed_floats, last)))
    return shown


def notes(table: CutTable) -> list[str]:
    """What a reader must know, a sentence each."""
    whose = "the default devices, round figures, since the scenario names none" if table.imagined else "its devices"
    lines = [
        f"Bytes: a client's, mean of the {table.clients} of round 1, both ways, with labels. Virtual: round 1 on "
        f"{whose}. FLOPs: the client's of a training step, forward and backward. Steps: measured, a batch of "
        f"{table.batch} on one thread of this machine.",
    ]
    guesses = [row.leakage.guess_mse for row in table.cuts if row.leakage is not None]
    if guesses:
        model = "the untrained model" if table.rounds is None else f"the model after {counted(table.rounds, 'round')}"
        lines.append(
            f"Leaks: images that {type(table.attack).__name__} finds of smashed data of {model}, ten test samples; the best "
            f"guess without any message has an MSE of {min(guesses):.3f}."
        )
    return lines + [f"Not after {name}: it {why}." for name, why in table.left_out]


def cuts_csv(table: CutTable) -> str:
    """A line a cut, raw numbers with units in the names of the columns."""
    leaks = [field.name for field in dataclasses.fields(Leakage)]
    columns = [field.name for field in dataclasses.fields(Cut) if field.name != "leakage"]
    columns += ["round_bytes", *(f"leakage_{name}" for name in leaks)]
    extra = (
        {
            "round_bytes": row.round_bytes,
            "paper_names": " ".join(row.paper_names),
            **{f"leakage_{name}": None if row.leakage is None else getattr(row.leakage, name) for name in leaks},
        }
        for row in table.cuts
    )
    return csv_text(columns, ({**dataclasses.asdict(row), **more} for row, more in zip(table.cuts, extra, strict=True)))


def write_cuts(table: CutTable, folder: Path) -> list[Path]:
    """cuts.csv, cuts.json and cuts.png in ``folder``; raises ``RunError`` where it cannot be written."""
    return write_files(
        folder,
        {
            "cuts.csv": cuts_csv(table).encode(),
            "cuts.json": (json.dumps(table.to_json(), indent=2) + "\n").encode(),
            "cuts.png": png(cuts_figure(table)),
        },
    )


def cuts_figure(table: CutTable, theme: Theme = LIGHT) -> Figure:
    """Cuts from the input down, and beside each what it costs: the client's share, bytes, virtual time, a step,
    accuracy."""
    trained = table.rounds is not None
    figure, panels = new_figure(2.1 + 2.15 * (4 + trained), 1.5 + 0.42 * len(table.cuts), 4 + trained, theme)
    cuts = table.cuts
    places = range(len(cuts))
    blue, amber, green, violet = theme.series
    _shares(panels[0], cuts, blue, amber, theme)
    portions, exchanged = [row.portion_bytes for row in cuts], [row.exchange_bytes for row in cuts]
    _stacked(panels[1], portions, exchanged, blue, amber, [size(row.round_bytes) for row in cuts], theme)
    _head(panels[1], "bytes, client and round", (("portion", blue), ("smashed, gradients", amber)), theme)
    panels[2].barh(places, [row.virtual_s for row in cuts], color=green, height=0.56)
    _ends(panels[2], [row.virtual_s for row in cuts], [seconds(row.virtual_s) for row in cuts], theme)
    _head(
        panels[2],
        "virtual time, round",
        (("default devices" if table.imagined else "scenario's devices", green),),
        theme,
    )
    steps = [seconds(row.client_step_s + row.server_step_s) for row in cuts]
    _stacked(
        panels[3], [row.client_step_s for row in cuts], [row.server_step_s for row in cuts], blue, amber, steps, theme
    )
    _head(panels[3], "measured step", (("client", blue), ("server", amber)), theme)
    if trained:
        values = [100 * (row.accuracy or 0.0) for row in cuts]
        panels[4].barh(places, values, color=violet, height=0.56)
        _ends(panels[4], values, [f"{percent(row.accuracy)} %" for row in cuts], theme)
        _head(panels[4], "test accuracy", ((f"after {counted(table.rounds or 0, 'round')}", violet),), theme)
    panels[0].set_yticks(list(places), [_name(row) for row in cuts])
    panels[0].set_ylim(len(cuts) - 0.4, -0.6)
    panels[0].set_ylabel("cut after")
    for panel in panels:
        panel.grid(False)
        panel.tick_params(axis="y", length=0)
    figure.suptitle(_title(table), x=0.01, ha="left", color=theme.ink, fontsize=11, fontweight="bold")
    return figure


def _shares(axes: Axes, cuts: tuple[Cut, ...], weights: str, flops: str, theme: Theme) -> None:
    for place, row in enumerate(cuts):
        ends = (100 * row.parameter_share, 100 * row.flops_share)
        axes.plot(ends, (place, place), color=theme.faint, linewidth=1, alpha=0.5, zorder=1)
        axes.plot(ends[0], place, "o", color=weights, markersize=6.5, clip_on=False)
        axes.plot(ends[1], place, "D", color=flops, markersize=5.5, clip_on=False)
    axes.set_xlim(0, 100)
    axes.set_xticks([0, 50, 100], ["0", "50", "100 %"])
    _head(axes, "client's share", (("● weights", weights), ("◆ FLOPs of a step", flops)), theme)


def _stacked(
    axes: Axes, first: list[float], second: list[float], one: str, other: str, texts: list[str], theme: Theme
) -> None:
    places = range(len(first))
    axes.barh(places, first, color=one, height=0.56)
    axes.barh(places, second, left=first, color=other, height=0.56)
    _ends(axes, [a + b for a, b in zip(first, second, strict=True)], texts, theme)


def _ends(axes: Axes, values: list[float], texts: list[str], theme: Theme) -> None:
    """A bar's number is at its end; the axis itself is not drawn."""
    for place, (value, text) in enumerate(zip(values, texts, strict=True)):
        axes.annotate(
            text, (value, place), xytext=(4, 0), textcoords="offset points", va="center", color=theme.ink, fontsize=8.5
        )
    axes.set_xlim(0, 1.5 * max([*values, 1e-12]))
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)


def _head(axes: Axes, title: str, parts: tuple[tuple[str, str], ...], theme: Theme) -> None:
    """The panel's name, and under it what its colours mean."""
    axes.annotate(
        title,
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, 17),
        textcoords="offset points",
        color=theme.ink,
        fontsize=9.5,
    )
    offset = 0.0
    for text, colour in parts:
        axes.annotate(
            text,
            (0, 1),
            xycoords="axes fraction",
            xytext=(offset, 5),
            textcoords="offset points",
            color=colour,
            fontsize=8.5,
            fontweight="bold",
        )
        offset += 5.3 * len(text) + 8


def _title(table: CutTable) -> str:
    return f"{type(table.scenario.model).__name__} under {type(table.scenario.protocol).__name__}: where to cut"


def _name(row: Cut) -> str:
    return f"{row.cut} ({', '.join(row.paper_names)})" if row.paper_names else row.cut


def share(fraction: float) -> str:
    """A percentage that tells 0.05 from 0 and 99.9 from 100."""
    value = 100 * fraction if fraction == 1 else min(100 * fraction, 99.99)
    return significant(value, 2) if value < 1 else f"{value:.2f}" if value > 99 else f"{value:.1f}"
