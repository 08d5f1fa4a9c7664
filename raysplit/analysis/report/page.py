"""The report: one HTML file that needs nothing else, in the layout of the paper's tables and figures."""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from raysplit.analysis.report.canvas import Theme
from raysplit.analysis.report.drops import (
    Panel,
    drop_by_cut,
    drop_by_malicious,
    legend_of,
    panels_by_cut,
    panels_by_malicious,
    rows_of,
)
from raysplit.analysis.report.markup import paragraph, picture
from raysplit.analysis.report.numbers import percent
from raysplit.analysis.report.pairs import Trial, split, trials, type_name
from raysplit.analysis.report.plots import accuracy_over_rounds
from raysplit.analysis.report.record import is_synthetic, run_section
from raysplit.analysis.report.style import STYLE
from raysplit.analysis.report.tables import MEASURES, accuracy_table, to_html
from raysplit.analysis.runs.run import Run
from raysplit.errors import RunError
from raysplit.storage.atomic import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_report(runs: Sequence[Run], out: str | os.PathLike[str]) -> Path:
    """Write one self-contained page about ``runs`` and return its path; equal runs give equal bytes.

    ``out``: an ``.html`` file, or a folder, in which it becomes ``report.html``. Raises ``RunError`` without runs or
    where the page cannot be written.
    """
    if not runs:
        raise RunError("a report needs at least one run; give run folders such as runs/<name>-<hash>")
    path = Path(out)
    if path.suffix.lower() not in (".html", ".htm"):
        path = path / "report.html"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, page(runs).encode())
    except OSError as error:
        raise RunError(f"the report {path} cannot be written ({error.strerror})") from None
    return path


def page(runs: Sequence[Run]) -> str:
    """The page as HTML."""
    found = trials(runs)
    anchors = [f"run-{number}" for number in range(1, len(runs) + 1)]
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs: {_subject(runs)}"
    body = [
        f"<header><h1>{html.escape(title)}</h1>\n",
        paragraph(
            "RaySplit report on the accuracy, the attack, the defence and the cost of simulated training.", "lead"
        ),
        _banner(runs),
        _contents(runs, anchors) if len(runs) > 1 else "",
        "</header>\n<main>\n",
        _results(found),
        _pictures(found),
        *[run_section(run, anchor) for run, anchor in zip(runs, anchors, strict=True)],
        "</main>\n",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # A run folder may come from a stranger: nothing in it can fetch or run anything here.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; style-src '
        "'unsafe-inline'\">\n"
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body>\n{''.join(body)}</body></html>\n"
    )


def _subject(runs: Sequence[Run]) -> str:
    models = sorted({type_name(run.scenario.get("model")) for run in runs})
    populations = sorted({type_name(run.scenario.get("population")) for run in runs})
    return f"{' and '.join(models)} on {' and '.join(populations)}"


def _banner(runs: Sequence[Run]) -> str:
    """What a reader must know before any number: made-up data, runs that have not ended, runs that diverged."""
    lines = []
    synthetic = [run for run in runs if is_synthetic(run)]
    if synthetic:
        who = "All runs here train" if len(synthetic) == len(runs) else _names(synthetic, "trains", "train")
        lines.append(
            f"<strong>Synthetic data.</strong> {who} on a made-up population: "
            "the numbers test the simulator and show trends, but do not compare with published accuracies."
        )
    unfinished = [run for run in runs if not run.state.finished]
    if unfinished:
        lines.append(f"<strong>Unfinished.</strong> {_names(unfinished, 'has', 'have')} not reached the last round.")
    diverged = [run for run in runs if run.summary().diverged]
    if diverged:
        lines.append(
            f"<strong>Diverged.</strong> {_names(diverged, 'has', 'have')} lost finite weights or loss; compare final "
            "with best accuracy."
        )
    return "".join(f'<div class="banner"><p>{line}</p></div>\n' for line in lines)


def _names(runs: Sequence[Run], one: str, many: str) -> str:
    if len(runs) > 3:
        return f"{len(runs)} runs {many}"
    return f"{' and '.join(html.escape(run.name) for run in runs)} {one if len(runs) == 1 else many}"


def _contents(runs: Sequence[Run], anchors: Sequence[str]) -> str:
    items = "".join(
        f'<li><a href="#{anchor}">{html.escape(run.name)}</a></li>' for run, anchor in zip(runs, anchors, strict=True)
    )
    return f'<nav aria-label="Runs"><ol>{items}</ol></nav>\n'


def _results(found: Sequence[Trial]) -> str:
    parts = ["<h2>Accuracy with and without the attack</h2>\n"]
    parts.append(
        "<p>Test accuracy in %: <em>Acc</em> without the attack, <em>Acc<sub>attack</sub></em> with it, and their "
        "difference <em>Acc<sub>drop</sub></em> in percentage points. A pair is two runs of one scenario that differ "
        "by the attack alone. <strong>Read final and best together</strong>: a run that diverges late keeps a good "
        "best accuracy, and the drop can differ by 10 to 20 points.</p>\n"
    )
    for measure in MEASURES:
        shown = accuracy_table(found, measure)
        parts.append(f"<h3>{html.escape(_HEADINGS[measure])}: {html.escape(shown.meaning)}</h3>\n{to_html(shown)}")
    return "".join(parts)


_HEADINGS = {"final": "Final accuracy", "best": "Best accuracy", "last5": "Late accuracy"}


def _pictures(found: Sequence[Trial]) -> str:
    parts: list[str] = []
    kinds: list[tuple[str, Mapping[str, list[Panel]], Callable[[Sequence[Panel], Theme], Figure]]] = [
        ("Accuracy drop by cut layer", panels_by_cut(found, "final"), drop_by_cut),
        ("Accuracy drop by share of malicious clients", panels_by_malicious(found, "final"), drop_by_malicious),
    ]
    for heading, figures, draw in kinds:
        if figures:
            parts.append(f"<h2>{heading}</h2>\n")
        for model, every in figures.items():
            for panels in rows_of({model: every}):
                caption = f"{model}: drop in final accuracy, percentage points{legend_of(panels)}."
                parts.append(picture(partial(draw, panels), f"{heading}, {model}", caption))
    parts.append("<h2>Accuracy over rounds</h2>\n")
    names = [_trial_name(trial) for trial in found]
    for trial, name in zip(found, names, strict=True):
        parts.append(picture(partial(accuracy_over_rounds, trial), _spoken(trial, name), name))
    return "".join(parts)


def _trial_name(trial: Trial) -> str:
    scenario = trial.scenario
    names = [type_name(scenario.get(part)) for part in ("model", "protocol", "defense", "attack")]
    cut = split(scenario)
    return (
        f"{names[0]}{'' if cut == '–' else ' ' + cut}, {names[1]}; rule {names[2]}; attack {names[3]}; seed "
        f"{scenario.get('seed', '–')}"
    )


def _spoken(trial: Trial, name: str) -> str:
    clean, attacked = trial.accuracy("final")
    return f"Test accuracy over rounds, {name}: final {percent(clean)} % clean, {percent(attacked)} % attacked"
