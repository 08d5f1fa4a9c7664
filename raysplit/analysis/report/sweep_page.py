"""The page and the files of a sweep: attacks against rules, the drop by cut and by share of malicious clients, and
every run."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from raysplit.analysis.report.canvas import LIGHT, Theme, png
from raysplit.analysis.report.drops import (
    drop_by_cut,
    drop_by_malicious,
    legend_of,
    panels_by_cut,
    panels_by_malicious,
    rows_of,
)
from raysplit.analysis.report.files import arrow_bytes, csv_text, write_files
from raysplit.analysis.report.markup import paragraph, picture, table
from raysplit.analysis.report.numbers import count, percent
from raysplit.analysis.report.pairs import Measure, trials
from raysplit.analysis.report.record import is_synthetic
from raysplit.analysis.report.style import STYLE
from raysplit.analysis.report.sweep import CLEAN, Grid, Outcome, full_grids, results, runs_of
from raysplit.analysis.report.sweep_figures import Show, shaded
from raysplit.analysis.report.sweep_shares import HEAD, TEXTS, share_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASURES: tuple[tuple[Measure, str], ...] = (
    ("final", "Final: after the last round"),
    ("best", "Best of all evaluations, chosen on the test set; those before the attack count"),
)
EXPLAINED = (
    "Test accuracy in % and, beside it, the drop: the accuracy under the same rule without the attack minus the "
    "accuracy with it, in percentage points. Read final and best together: where an attack only does harm, the best "
    "evaluation is one from before it began."
)
_PICTURE = re.compile(r"(drop|accuracy|malicious-drop|malicious-accuracy|cut-drop)-\d+")
Draw = Callable[[Theme], "Figure"]


def write_sweep(name: str, found: Sequence[Outcome], folder: Path) -> Path:
    """Write report.html, tables.md, results.csv, results.arrow and the pictures as PNG to ``folder``; returns the
    page's path.

    Equal runs give equal bytes. Raises ``RunError`` where the folder cannot be written.
    """
    rows = results(found)
    files = {
        "report.html": page(name, found).encode(),
        "tables.md": markdown(found).encode(),
        "results.csv": csv_text(rows.column_names, rows.to_pylist()).encode(),
        "results.arrow": arrow_bytes(rows),
    }
    files |= {f"{stem}.png": png(draw(LIGHT)) for stem, _, _, draw in figures_of(found)}
    page_path = write_files(folder, files)[0]
    for path in folder.glob("*.png"):
        if path.name not in files and _PICTURE.fullmatch(path.stem):
            path.unlink()  # of a report before this one, which had more of them
    return page_path


def page(name: str, found: Sequence[Outcome]) -> str:
    """The page as HTML."""
    heading = f"Sweep {name}: {len(found)} scenarios"
    body = [
        f"<header><h1>{html.escape(heading)}</h1>\n",
        paragraph(_summary(found), "lead"),
        _banner(found),
        "</header>\n<main>\n",
        _tables(found),
        _by_share(found),
    ]
    above = ""
    for _, section, text, draw in figures_of(found):
        body += [f"<h2>{html.escape(section)}</h2>\n"] if section != above else []
        body.append(picture(draw, f"{section}. {text}", text))
        above = section
    body += [_runs(found), "</main>\n"]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; style-src '
        "'unsafe-inline'\">\n"
        f"<title>{html.escape(heading)}</title><style>{STYLE}</style></head>\n<body>\n{''.join(body)}</body></html>\n"
    )


def markdown(found: Sequence[Outcome]) -> str:
    """The tables as GitHub Markdown: a cell holds the accuracy and, under an attack, the drop in points."""
    parts = []
    for measure, heading in MEASURES:
        for grid in full_grids(found, measure):
            head = ["attack", *grid.rules]
            lines = [head, [":--"] + ["--:"] * len(grid.rules)]
            for attack in grid.attacks:
                lines.append([attack, *(grid.short(attack, rule) for rule in grid.rules)])
            body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
            said = f"{grid.title}. {heading}; accuracy in % (drop in points)."
            parts.append(f"{said}\n\n{body}\n{_below(*grid.notes)}")
    shares = share_table(found, [measure for measure, _ in MEASURES])
    if shares.rows:
        lines = [
            [f"{name} ({unit})" if unit else name for name, unit in HEAD],
            [":--"] * TEXTS + ["--:"] * (len(HEAD) - TEXTS),
            *shares.rows,
        ]
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n{_below(shares.note)}")
    return "\n".join(parts)


def _below(*notes: str) -> str:
    """Notes below a table of Markdown, a paragraph each."""
    return "".join(f"\n{note}\n" for note in notes if note)


def _summary(found: Sequence[Outcome]) -> str:
    runs = runs_of(found)
    shared = sum(int(run.state.record.get("forked_rounds", 0)) for run in runs)
    done = sum(run.state.rounds for run in runs)
    ended = sum(run.state.finished for run in runs)
    return (
        f"{ended} of {len(found)} scenarios have ended. Their {count(done)} rounds took {count(done - shared)} rounds "
        f"of training: {count(shared)} were taken over from scenarios with the same beginning."
    )


def _banner(found: Sequence[Outcome]) -> str:
    lines = []
    runs = runs_of(found)
    made_up = [run for run in runs if is_synthetic(run)]
    if made_up:
        who = "All runs here train" if len(made_up) == len(runs) else f"{len(made_up)} runs train"
        lines.append(
            f"<strong>Synthetic data.</strong> {who} on a made-up population: do not compare with published accuracies."
        )
    for status, word in (
        ("failed", "Failed"),
        ("missing", "Missing"),
        ("unfinished", "Unfinished"),
        ("diverged", "Diverged"),
    ):
        which = [str(outcome.scenario.get("name")) for outcome in found if outcome.status == status]
        if which:
            shown = ", ".join(html.escape(name) for name in which[:3]) + (
                f" and {len(which) - 3} more" if len(which) > 3 else ""
            )
            lines.append(f"<strong>{word}.</strong> {shown}; see the list of runs.")
    return "".join(f'<div class="banner"><p>{line}</p></div>\n' for line in lines)


def _tables(found: Sequence[Outcome]) -> str:
    parts = []
    for measure, heading in MEASURES:
        tables = full_grids(found, measure)
        if not tables:
            continue
        parts.append(f"<h2>Attacks against rules. {html.escape(heading)}</h2>\n")
        if measure == "final":
            parts.append(paragraph(EXPLAINED))
        for grid in tables:
            parts.append(f"<h3>{html.escape(grid.title)}</h3>\n{_html(grid)}")
    return "".join(parts)


def _html(grid: Grid) -> str:
    across = "".join(f'<th colspan="2" scope="colgroup" class="rule">{html.escape(rule)}</th>' for rule in grid.rules)
    columns = '<th scope="col" class="n first">Acc</th><th scope="col" class="n">drop</th>' * len(grid.rules)
    body = []
    for attack in grid.attacks:
        cells = []
        for rule in grid.rules:
            cell = grid.cells.get((attack, rule))
            accuracy, drop = ("", "") if cell is None else cell.texts()
            cells.append(
                f'<td class="n first">{accuracy}</td><td class="n drop">{"" if attack == CLEAN else drop}</td>'
            )
        body.append(f'<tr><th scope="row">{html.escape(attack)}</th>{"".join(cells)}</tr>')
    notes = "".join(paragraph(text, "note") for text in grid.notes)
    return (
        '<div class="wide"><table class="paper"><thead><tr><th rowspan="2" '
        f'scope="col">Attack</th>{across}</tr><tr>{columns}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>{notes}"
    )


def _by_share(found: Sequence[Outcome]) -> str:
    shares = share_table(found, [measure for measure, _ in MEASURES])
    if not shares.rows:
        return ""
    note = paragraph(
        "Drops are against the same rule and the same share of malicious clients without the attack. " + shares.note,
        "note",
    )
    return f"<h2>By share of malicious clients</h2>\n{table(HEAD, shares.rows, TEXTS)}{note}"


def figures_of(found: Sequence[Outcome]) -> list[tuple[str, str, str, Draw]]:
    """File name, heading, caption and drawing of every picture."""
    figures: list[tuple[str, str, str, Draw]] = []
    tables = full_grids(found, "final")
    one = "Attacks against rules, drawn"
    for number, at in enumerate(range(0, len(tables), 3), 1):
        some = tables[at : at + 3]
        means = ", means over seeds" if any(grid.means for grid in some) else ""
        text = f"Drop in final accuracy, percentage points{means}."
        figures.append((f"drop-{number}", one, text, _shading(some, "drop", tables)))
        text = f"Final test accuracy in %{means}."
        figures.append((f"accuracy-{number}", one, text, _shading(some, "accuracy", tables)))
    pairs = trials(runs_of(found))
    many = "By share of malicious clients, drawn"
    for number, panels in enumerate(rows_of(panels_by_malicious(pairs, "final")), 1):
        text = f"Drop in final accuracy over the share of malicious clients{legend_of(panels)}."
        figures.append((f"malicious-drop-{number}", many, text, partial(drop_by_malicious, panels)))
    for number, panels in enumerate(rows_of(panels_by_malicious(pairs, "final", "accuracy")), 1):
        text = f"Final accuracy under attack over the share of malicious clients{legend_of(panels)}."
        figures.append((f"malicious-accuracy-{number}", many, text, partial(drop_by_malicious, panels)))
    if not any(stem.startswith("malicious") for stem, *_ in figures):
        for panels in rows_of(panels_by_cut(pairs, "final")):
            text = f"Drop in final accuracy by cut, percentage points{legend_of(panels)}."
            figures.append((f"cut-drop-{len(figures)}", "Drop by cut layer", text, partial(drop_by_cut, panels)))
    return figures


def _shading(some: Sequence[Grid], show: Show, among: Sequence[Grid]) -> Draw:
    return lambda theme: shaded(some, show, among, theme)


def _runs(found: Sequence[Outcome]) -> str:
    rows = []
    for outcome in found:
        run = outcome.run
        summary = None if run is None else run.summary()
        record = {} if run is None else run.state.record
        shared = f"{record['forked_rounds']} of {record['forked_from']}" if "forked_rounds" in record else ""
        rows.append(
            [
                str(outcome.scenario.get("name")),
                outcome.status + (f": {outcome.why}" if outcome.why else ""),
                shared,
                count(0 if run is None else run.state.rounds),
                percent(None if summary is None else summary.final),
                percent(None if summary is None else summary.best),
                "" if run is None or run.state.digest is None else run.state.digest[:16],
            ]
        )
    head = (
        ("run", ""),
        ("status", ""),
        ("rounds shared with", ""),
        ("rounds", ""),
        ("final", "%"),
        ("best", "%"),
        ("digest", ""),
    )
    return f"<h2>Runs</h2>\n{table(head, rows, 3)}{paragraph('Each has tables of its own; see one with raysplit report RUN.', 'note')}"
