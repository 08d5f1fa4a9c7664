"""The page and the files of a sweep: attacks against rules, the drop by cut and by share of malicious clients, and
every run."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from raysplit.analysis.report.canvas import LIGHT, Theme, png
from raysplit.analysis.report.drops import drop_by_cut, drop_by_malicious, panels_by_cut, panels_by_malicious
from raysplit.analysis.report.files import csv_text, write_files
from raysplit.analysis.report.markup import paragraph, picture, table
from raysplit.analysis.report.numbers import NONE, count, percent
from raysplit.analysis.report.pairs import Measure, Trial, trials
from raysplit.analysis.report.record import is_synthetic
from raysplit.analysis.report.style import STYLE
from raysplit.analysis.report.sweep import CLEAN, RESULTS, Grid, Outcome, grids, results, runs_of, title_of
from raysplit.analysis.report.sweep_figures import shaded

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
_NOTES = {"†": "† unfinished, failed or missing", "‡": "‡ diverged: loss or weights stopped being finite"}
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
        "results.csv": csv_text(RESULTS.names, rows.to_pylist()).encode(),
        "results.arrow": _arrow(rows),
    }
    files |= {f"{stem}.png": png(draw(LIGHT)) for stem, _, _, draw in _figures(found)}
    return write_files(folder, files)[0]


def _arrow(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows)
    data: bytes = sink.getvalue().to_pybytes()
    return data


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
    for _, section, text, draw in _figures(found):
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
        for grid in _full(grids(found, measure)):
            head = ["attack", *grid.rules]
            lines = [head, [":--"] + ["--:"] * len(grid.rules)]
            for attack in grid.attacks:
                lines.append([attack, *(_short(grid, attack, rule) for rule in grid.rules)])
            body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
            parts.append(f"{grid.title}. {heading}; accuracy in % (drop in points).\n\n{body}\n")
    shares = _share_rows(found)
    if shares:
        lines = [
            [name for name, _ in _SHARE_HEAD],
            [":--"] * _SHARE_TEXTS + ["--:"] * (len(_SHARE_HEAD) - _SHARE_TEXTS),
            *shares,
        ]
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n")
    return "\n".join(parts)


def _short(grid: Grid, attack: str, rule: str) -> str:
    cell = grid.cells.get((attack, rule))
    if cell is None:
        return ""  # there is no such scenario; a dash is one that has no figure
    accuracy, drop = cell.texts()
    return accuracy if drop == NONE else f"{accuracy} ({drop})"


def _full(tables: Sequence[Grid]) -> list[Grid]:
    """The tables that are one: with several rules, or several attacks."""
    return [grid for grid in tables if len(grid.rules) > 1 or len([a for a in grid.attacks if a != CLEAN]) > 1]


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
        tables = _full(grids(found, measure))
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
    body, marks = [], set()
    for attack in grid.attacks:
        cells = []
        for rule in grid.rules:
            cell = grid.cells.get((attack, rule))
            accuracy, drop = ("", "") if cell is None else cell.texts()
            marks |= set() if cell is None else set(cell.marks)
            cells.append(
                f'<td class="n first">{accuracy}</td><td class="n drop">{"" if attack == CLEAN else drop}</td>'
            )
        body.append(f'<tr><th scope="row">{html.escape(attack)}</th>{"".join(cells)}</tr>')
    notes = "".join(paragraph(text, "note") for mark, text in _NOTES.items() if mark in marks)
    return (
        '<div class="wide"><table class="paper"><thead><tr><th rowspan="2" '
        f'scope="col">Attack</th>{across}</tr><tr>{columns}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>{notes}"
    )


_SHARE_HEAD = (
    ("split", ""), ("rule and attack", ""), ("malicious", "%"), ("Acc", "%"), ("under attack", "%"), ("drop", "points"),
    ("best", "%"), ("under attack, best", "%"), ("drop, best", "points"),
)  # fmt: skip
_SHARE_TEXTS = 2


def _share_rows(found: Sequence[Outcome]) -> list[list[str]]:
    """Accuracies and drops by share of malicious clients, where there is more than one share."""
    panels = [panel for group in panels_by_malicious(trials(runs_of(found)), "final").values() for panel in group]
    if not panels:
        return []
    rows = []
    for trial in sorted(trials(runs_of(found)), key=_share_place):
        share = _share_of(trial)
        if trial.attacked is None and share:
            continue
        figures = []
        for measure, _ in MEASURES:
            clean, attacked = trial.accuracy(measure)
            lost = trial.drop(measure)
            figures += [percent(clean), percent(attacked), percent(lost)]
        rows.append([_split_of(trial), _pair_of(trial), f"{100 * share:g}", *figures])
    return rows


def _share_of(trial: Trial) -> float:
    return float(trial.scenario["cohort"]["malicious"])


def _split_of(trial: Trial) -> str:
    return title_of({**trial.scenario, "cohort": {}}, "")


def _pair_of(trial: Trial) -> str:
    from raysplit.analysis.report.pairs import acting, title

    rule, attack = (title(acting(trial.scenario.get(part))) for part in ("defense", "attack"))
    return f"{rule}, {CLEAN if trial.attacked is None else attack}"


def _share_place(trial: Trial) -> tuple[str, float, str]:
    return _split_of(trial), _share_of(trial), _pair_of(trial)


def _by_share(found: Sequence[Outcome]) -> str:
    rows = _share_rows(found)
    if not rows:
        return ""
    note = paragraph(
        "Drops are against the same rule and the same share of malicious clients without the attack.", "note"
    )
    return f"<h2>By share of malicious clients</h2>\n{table(_SHARE_HEAD, rows, _SHARE_TEXTS)}{note}"


def _figures(found: Sequence[Outcome]) -> list[tuple[str, str, str, Draw]]:
    """File name, heading, caption and drawing of every picture."""
    figures: list[tuple[str, str, str, Draw]] = []
    tables = _full(grids(found, "final"))
    one = "Attacks against rules, drawn"
    for number, at in enumerate(range(0, len(tables), 3), 1):
        some = tables[at : at + 3]
        figures.append(
            (f"drop-{number}", one, "Drop in final accuracy, percentage points.", partial(shaded, some, "drop"))
        )
        figures.append((f"accuracy-{number}", one, "Final test accuracy in %.", partial(shaded, some, "accuracy")))
    pairs = trials(runs_of(found))
    red = "dashed red: federated learning"
    many = "By share of malicious clients, drawn"
    for number, panels in enumerate(panels_by_malicious(pairs, "final").values(), 1):
        text = f"Drop in final accuracy over the share of malicious clients; {red}."
        figures.append((f"malicious-drop-{number}", many, text, partial(drop_by_malicious, panels)))
    for number, panels in enumerate(panels_by_malicious(pairs, "final", "accuracy").values(), 1):
        text = f"Final accuracy under attack over the share of malicious clients; {red}."
        figures.append((f"malicious-accuracy-{number}", many, text, partial(drop_by_malicious, panels)))
    if not any(stem.startswith("malicious") for stem, *_ in figures):
        for panels in panels_by_cut(pairs, "final").values():
            for at in range(0, len(panels), 4):
                text = f"Drop in final accuracy by cut; {red}."
                stem = f"cut-drop-{len(figures)}"
                figures.append((stem, "Drop by cut layer", text, partial(drop_by_cut, panels[at : at + 4])))
    return figures


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
