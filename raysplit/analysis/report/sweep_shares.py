"""Accuracies and drops of a sweep by share of malicious clients, as rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raysplit.analysis.report.drops import panels_by_malicious
from raysplit.analysis.report.numbers import spread, spread_note
from raysplit.analysis.report.pairs import Measure, Trial, differences, key, names, trials
from raysplit.analysis.report.sweep import CLEAN, Outcome, rest_of, runs_of, titles_of

HEAD = (
    ("split", ""), ("rule and attack", ""), ("malicious", "%"), ("Acc", "%"), ("under attack", "%"), ("drop", "points"),
    ("best", "%"), ("under attack, best", "%"), ("drop, best", "points"),
)  # fmt: skip
TEXTS = 2
"""The first columns are texts."""


@dataclass(frozen=True)
class ShareTable:
    """``rows``: cells of ``HEAD``; ``note``: what ± means, an empty text where there is none."""

    rows: list[list[str]]
    note: str


def share_table(found: Sequence[Outcome], measures: Sequence[Measure]) -> ShareTable:
    """A row for each split, rule, attack and share, seeds put together; no rows where there is but one share."""
    pairs = trials(runs_of(found))
    if not panels_by_malicious(pairs, "final"):
        return ShareTable([], "")
    scenarios = [trial.scenario for trial in pairs]
    rests = [rest_of(scenario) for scenario in scenarios]
    splits = titles_of(scenarios, differences(rests), share=False)
    places = [key({**rest, "split": split}) for rest, split in zip(rests, splits, strict=True)]
    rules = names([scenario.get("defense") for scenario in scenarios], places)
    attacks = names([scenario.get("attack") for scenario in scenarios], places)
    groups: dict[tuple[str, float, str], list[Trial]] = {}
    for trial, split, rule, attack in zip(pairs, splits, rules, attacks, strict=True):
        share = _share_of(trial.scenario)
        if trial.attacked is None and share:
            continue  # without an attack the share is a label
        pair = f"{rule}, {CLEAN if trial.attacked is None else attack}"
        groups.setdefault((split, share, pair), []).append(trial)
    rows = [
        [split, pair, f"{100 * share:g}", *_cells(group, measures)]
        for (split, share, pair), group in sorted(groups.items())
    ]
    return ShareTable(rows, spread_note(len(group) for group in groups.values()))


def _cells(group: Sequence[Trial], measures: Sequence[Measure]) -> list[str]:
    cells = []
    for measure in measures:
        both = [trial.accuracy(measure) for trial in group]
        drops = [trial.drop(measure) for trial in group]
        for values in ([clean for clean, _ in both], [attacked for _, attacked in both], drops):
            cells.append(spread([value for value in values if value is not None]))
    return cells


def _share_of(scenario: Any) -> float:
    return float(scenario["cohort"]["malicious"])
