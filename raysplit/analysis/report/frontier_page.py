"""The page and the files of a frontier."""

from __future__ import annotations

import html
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from raysplit.analysis.frontier.measured import Measured
from raysplit.analysis.frontier.measures import on_front, present
from raysplit.analysis.report.canvas import LIGHT, png
from raysplit.analysis.report.files import arrow_bytes, csv_text, write_files
from raysplit.analysis.report.frontier import FRONT, Axes, axes_of, leak_cells, leak_rows, over, rows_of, shown
from raysplit.analysis.report.frontier_figure import frontier_figure
from raysplit.analysis.report.frontier_terminal import notes
from raysplit.analysis.report.markup import definitions, paragraph, picture, table
from raysplit.analysis.report.numbers import count
from raysplit.analysis.report.pairs import flatten, plain
from raysplit.analysis.report.record import is_synthetic
from raysplit.analysis.report.style import STYLE
from raysplit.parts.canonical import to_json
from raysplit.scenario.frontier import Frontier

LEAK_COLUMNS = ("cut", "defense", "attack", "of", "metric", "value")


def write_frontier(name: str, spec: Frontier, points: Sequence[Measured], axes: Axes, folder: Path) -> Path:
    """Write report.html, frontier.csv, frontier.arrow, leakage.csv and frontier.png to ``folder``; returns the page's
    path. Equal runs give equal bytes. Raises ``RunError`` where the folder cannot be written."""
    rows = rows_of(points, axes)
    files = {
        "report.html": page(name, spec, points, axes).encode(),
        "frontier.csv": csv_text(rows.column_names, rows.to_pylist()).encode(),
        "frontier.arrow": arrow_bytes(rows),
        "leakage.csv": csv_text(LEAK_COLUMNS, leak_rows(points)).encode(),
        "frontier.png": png(frontier_figure(points, axes, LIGHT)),
    }
    return write_files(folder, files)[0]


def page(name: str, spec: Frontier, points: Sequence[Measured], axes: Axes) -> str:
    """The page as HTML."""
    heading = f"Frontier {name}: {count(len(spec.cuts))} cuts, {count(len(spec.defenses))} defences"
    body = [
        f"<header><h1>{html.escape(heading)}</h1>\n",
        paragraph(
            f"{spec.base.name}: what each cut and each defence costs and keeps. {count(_ended(points))} of "
            f"{count(len(points))} points are measured.",
            "lead",
        ),
        _banner(points),
        "</header>\n<main>\n<h2>The front</h2>\n",
        *(_picture(points, one) for one in [axes, *_others(points, axes)]),
        "<h2>Points</h2>\n",
        _table(points, axes),
        *(paragraph(note, "note") for note in notes(points, axes)),
        _attacks(points),
        _channels(points),
        "<h2>How it was measured</h2>\n",
        _settings(spec),
        _runs(points),
        "</main>\n",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; style-src '
        "'unsafe-inline'\">\n"
        f"<title>{html.escape(heading)}</title><style>{STYLE}</style></head>\n<body>\n{''.join(body)}</body></html>\n"
    )


def _others(points: Sequence[Measured], axes: Axes) -> list[Axes]:
    """Accuracy against the drop and against bytes, where these are not what was asked for."""
    names = ("drop", "bytes")
    there = {measure.name for measure in present(points)} - {axes.x.name, axes.y.name}
    return [axes_of(points, name, "accuracy", None) for name in names if name in there]


def _picture(points: Sequence[Measured], axes: Axes) -> str:
    what = f"{axes.y.axis[:1].upper()}{axes.y.axis[1:]} against {axes.x.axis}"
    text = f"{what}; colour by defence, marker by cut. Rings: the Pareto front of {over(axes)}."
    return picture(partial(frontier_figure, points, axes), what, text)


def _attacks(points: Sequence[Measured]) -> str:
    """What every attack found, beside guesses."""
    metrics, rows = leak_cells(points)
    if not metrics:
        return ""
    note = "In brackets the best guess that needs no message; MSE of images whose range is 1."
    head = [("cut", ""), ("defence", ""), ("attack", ""), *((metric, "") for metric in metrics)]
    return f"<h2>What each attack finds</h2>\n{table(head, rows, 3)}{paragraph(note, 'note')}"


def _ended(points: Sequence[Measured]) -> int:
    return sum(point.accuracy is not None for point in points)


def _banner(points: Sequence[Measured]) -> str:
    made_up = [point for point in points if point.clean.run is not None and is_synthetic(point.clean.run)]
    holes = [point.label for point in points if point.accuracy is None]
    lines = []
    if made_up:
        lines.append("<strong>Synthetic data.</strong> The runs train on a made-up population: they show trends only.")
    if holes:
        lines.append(f"<strong>Holes.</strong> {html.escape('; '.join(holes))}: see the notes below the table.")
    return "".join(f'<div class="banner"><p>{line}</p></div>\n' for line in lines)


def _table(points: Sequence[Measured], axes: Axes) -> str:
    measures = present(points)
    head = [("cut", ""), ("defence", "")]
    head += [(measure.head, "%" if measure.percent else "") for measure in measures]
    rows = []
    for point, mark in zip(points, on_front(points, axes.front), strict=True):
        status = FRONT if mark else "" if point.clean.status == "finished" else point.clean.status
        rows.append([point.point.cut, point.point.defense, *(shown(one, one.of(point)) for one in measures), status])
    return table([*head, ("front", "")], rows, 2)


def _channels(points: Sequence[Measured]) -> str:
    """Bytes a round by channel."""
    channels = list(dict.fromkeys(channel for point in points for channel in point.channel_bytes))
    if not channels:
        return ""
    rows = [
        [point.point.cut, point.point.defense, *(count(round(point.channel_bytes.get(one, 0))) for one in channels)]
        for point in points
        if point.channel_bytes
    ]
    head = [("cut", ""), ("defence", ""), *((channel, "B a round") for channel in channels)]
    return f"<h2>Bytes by channel</h2>\n{table(head, rows, 2)}"


def _settings(spec: Frontier) -> str:
    def written(part: object) -> str:
        return plain({k: v for k, v in flatten(to_json(part)).items() if not k.endswith("source_sha256")})

    base = spec.base
    facts = [
        ("Population", plain(to_json(base.population))),
        ("Model", plain(to_json(base.model))),
        ("Protocol", plain(to_json(base.protocol))),
        ("Cohort", plain(to_json(base.cohort))),
        ("Training", plain(to_json(base.training))),
        ("Poison", "" if spec.poison is None else plain(to_json(spec.poison))),
        *((f"Attack {name}", plain(to_json(attack))) for name, attack in spec.attacks.items()),
        (
            "Attacked",
            f"{count(spec.samples)} samples, {count(spec.auxiliary)} auxiliary ones, {count(spec.queries)} queries",
        ),
        ("Seed", str(base.seed)),
    ]
    return definitions(facts)


def _runs(points: Sequence[Measured]) -> str:
    rows = []
    for point in points:
        for kind, ended in (("clean", point.clean), ("poisoned", point.attacked)):
            if ended.status == "none":
                continue
            digest = "" if ended.run is None or ended.run.state.digest is None else ended.run.state.digest[:16]
            folder = "" if ended.folder is None else ended.folder.name
            rows.append([point.label, kind, ended.status, folder, digest])
    head = (("point", ""), ("run", ""), ("status", ""), ("folder", ""), ("digest", ""))
    return f"<h2>Runs</h2>\n{table(head, rows, 4)}{paragraph('Each has tables of its own; see one with raysplit report RUN.', 'note')}"
