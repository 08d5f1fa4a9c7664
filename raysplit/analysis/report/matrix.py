"""The tables and the picture of ``raysplit matrix``: a row a rule, a column an attack, in each cell the relative
bias."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from raysplit.analysis.matrix.matrix import Matrix, Pair
from raysplit.analysis.report.canvas import LIGHT, Theme, new_figure, png
from raysplit.analysis.report.files import csv_text, write_files
from raysplit.analysis.report.numbers import NONE, significant

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LONG = 24
"""So many pairs at most are shown with all that was measured, a line each."""


def matrix_tables(matrix: Matrix, width: int) -> list[Table]:
    """For a terminal of ``width`` columns: all figures of a few pairs, or the relative bias of many, as many attacks
    side by side as fit."""
    if len(matrix.pairs) <= _LONG:
        return [_all_figures(matrix)]
    first = max(len(rule) for rule in matrix.rules) + 2
    side_by_side = max(1, (width - first) // 7)
    blocks = [matrix.attacks[at : at + side_by_side] for at in range(0, len(matrix.attacks), side_by_side)]
    return [_grid(matrix, attacks, matrix.title if not at else None) for at, attacks in enumerate(blocks)]


def _grid(matrix: Matrix, attacks: tuple[str, ...], title: str | None) -> Table:
    shown = _table(None if title is None else f"Relative bias: {title}")
    shown.caption = "   ".join(f"({matrix.attacks.index(attack)})\u00a0{attack}" for attack in attacks)
    shown.add_column("rule", no_wrap=True)
    for attack in attacks:
        shown.add_column(f"({matrix.attacks.index(attack)})", justify="right", no_wrap=True)
    for rule in matrix.rules:
        shown.add_row(rule, *(_cell(matrix.pair(attack, rule)) for attack in attacks))
    return shown


def _all_figures(matrix: Matrix) -> Table:
    shown = _table(matrix.title)
    shown.add_column("rule", no_wrap=True)
    for head in ["bias", "rel.\nbias", "cosine", "norm", "liars\nin", "rule\nms", "attack\nms"]:
        shown.add_column(head, justify="right", no_wrap=True)
    for attack in matrix.attacks:
        shown.add_row(f"{attack}:")
        for rule in matrix.rules:
            pair = matrix.pair(attack, rule)
            share = NONE if pair.malicious_selected is None else f"{100 * pair.malicious_selected:.0f} %"
            figures = [
                significant(pair.bias, 2),
                _cell(pair),
                significant(pair.cosine, 2),
                significant(pair.norm, 2),
                share,
            ]
            shown.add_row(f"  {rule}", *figures, _ms(pair.seconds), _ms(pair.attack_seconds))
        shown.add_section()
    return shown


def _ms(duration: float | None) -> str:
    return NONE if duration is None else f"{1000 * duration:.1f}"


def _table(title: str | None) -> Table:
    return Table(
        title=title,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )


def _cell(pair: Pair) -> str:
    value = pair.relative_bias
    small = value is not None and value < 0.01
    text = "<0.01" if small else significant(value, 2 if value is None or value < 1000 else 1)
    return text + ("*" if pair.broken else "")


def notes_of(matrix: Matrix) -> list[str]:
    """What a reader must know, a sentence each; equal refusals together."""
    lines = list(matrix.notes)
    if any(pair.broken for pair in matrix.pairs):
        lines.append("* the rule says that more clients lie than it can bear.")
    refused = [pair for pair in matrix.pairs if pair.refusal is not None]
    alike: dict[tuple[str, str], list[Pair]] = {}
    for pair in refused:
        by_rule = [other for other in refused if (other.rule, other.refusal) == (pair.rule, pair.refusal)]
        whom = pair.rule if len(by_rule) == len(matrix.attacks) else pair.attack
        alike.setdefault((whom, str(pair.refusal)[:40]), []).append(pair)
    for pairs in alike.values():
        first, *others = pairs
        more = sorted({other.attack if other.rule == first.rule else other.rule for other in others})
        line = f"{NONE} {first.rule} under {first.attack}: {first.refusal}."
        lines.append(line + (f" Likewise: {', '.join(more)}." if more else ""))
    return lines


def matrix_csv(matrix: Matrix) -> str:
    """A line a pair, raw numbers; empty where there is none."""
    columns = [field.name for field in dataclasses.fields(Pair)]
    return csv_text(columns, (dataclasses.asdict(pair) for pair in matrix.pairs))


def write_matrix(matrix: Matrix, folder: Path) -> list[Path]:
    """matrix.csv, matrix.json and matrix.png in ``folder``; raises ``RunError`` where it cannot be written."""
    return write_files(
        folder,
        {
            "matrix.csv": matrix_csv(matrix).encode(),
            "matrix.json": (json.dumps(matrix.to_json(), indent=2) + "\n").encode(),
            "matrix.png": png(matrix_figure(matrix)),
        },
    )


def matrix_figure(matrix: Matrix, theme: Theme = LIGHT) -> Figure:
    """Relative bias, paler where the rule holds: from a twentieth of the benign mean to ten times it, on a logarithmic
    scale."""
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    rules, attacks = matrix.rules, matrix.attacks
    longest = max(len(rule) for rule in rules)
    figure, (axes,) = new_figure(
        max(5.2, 1.9 + 0.075 * longest + 0.56 * len(attacks)), 2.3 + 0.29 * len(rules), 1, theme
    )
    shades = LinearSegmentedColormap.from_list("bias", [theme.paper, theme.attacked]).with_extremes(bad="#8883")
    scale = LogNorm(0.05, 10, clip=True)
    values = [[_shown(matrix.pair(attack, rule)) for attack in attacks] for rule in rules]
    image = axes.imshow(values, cmap=shades, norm=scale, aspect="auto")
    for down, rule in enumerate(rules):
        for across, attack in enumerate(attacks):
            value = values[down][across]
            dark = math.isfinite(value) and scale(value) > 0.72
            text = _cell(matrix.pair(attack, rule))
            colour = theme.paper if dark else theme.ink
            axes.text(across, down, text, ha="center", va="center", fontsize=7.5, color=colour)
    axes.set_yticks(range(len(rules)), rules)
    axes.set_xticks(range(len(attacks)), attacks, rotation=38, ha="right", rotation_mode="anchor")
    axes.grid(False)
    axes.tick_params(length=0, labelsize=8.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(image, ax=axes, fraction=0.035, pad=0.015, ticks=[0.05, 0.2, 1, 5, 10])
    bar.ax.set_yticklabels(["≤ 0.05", "0.2", "1", "5", "≥ 10"], fontsize=8, color=theme.ink)
    bar.ax.tick_params(length=0)
    bar.ax.minorticks_off()
    bar.outline.set_visible(False)
    figure.suptitle(
        "Bias over the length of the benign mean", x=0.01, ha="left", color=theme.ink, fontsize=11, fontweight="bold"
    )
    axes.set_title(
        f"{matrix.title}\n– refused   * more liars than the rule bears", loc="left", fontsize=8.5, color=theme.faint
    )
    return figure


def _shown(pair: Pair) -> float:
    """Never 0, which a logarithm does not have; NaN where there is no number."""
    return math.nan if pair.relative_bias is None else max(pair.relative_bias, 1e-12)
