"""A sweep's results for a terminal: attacks against rules as in the report, else a line a scenario."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from raysplit.analysis.report.numbers import percent
from raysplit.analysis.report.sweep import Grid, Outcome, full_grids


@dataclass(frozen=True)
class Titled:
    """A table, what stands above it, and the notes below it."""

    title: str
    table: Table
    notes: Sequence[str] = ()


def sweep_tables(found: Sequence[Outcome]) -> list[Titled]:
    """Final accuracies in % and, in brackets, drops in points; where there are no attacks against rules, final and best
    accuracies of all scenarios."""
    grids = full_grids(found, "final")
    return [_attacks_against_rules(grid) for grid in grids] if grids else [_scenarios(found)]


def _attacks_against_rules(grid: Grid) -> Titled:
    shown = _table()
    shown.add_column("attack", no_wrap=True)
    for rule in grid.rules:
        shown.add_column(rule.replace(" + ", " +\n"), justify="right", no_wrap=True)
    for attack in grid.attacks:
        shown.add_row(attack, *(grid.short(attack, rule) for rule in grid.rules))
    return Titled(f"{grid.title}: final accuracy in % (drop in points)", shown, grid.notes)


def _scenarios(found: Sequence[Outcome]) -> Titled:
    shown = _table()
    for head in ("scenario", "status"):
        shown.add_column(head, no_wrap=True)
    for head in ("final", "best"):
        shown.add_column(head, justify="right", no_wrap=True)
    for outcome in found:
        summary = None if outcome.run is None else outcome.run.summary()
        figures = (None, None) if summary is None else (summary.final, summary.best)
        shown.add_row(str(outcome.scenario.get("name")), outcome.status, *map(percent, figures))
    return Titled("Test accuracy in %, after the last round and at the best evaluation", shown)


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, pad_edge=False, collapse_padding=True)
