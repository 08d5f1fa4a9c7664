"""The accuracy table in the layout of Khan et al. 2022, tables 1 and 2: models and splits down, aggregation rules
across."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysplit.analysis.report.numbers import NONE, spread, spread_note
from raysplit.analysis.report.pairs import Measure, Trial, differences, is_unsplit, key, labels, split, type_name
from raysplit.analysis.report.success import successes

MEASURES: tuple[Measure, ...] = ("final", "best", "last5")


def meaning(measure: Measure, trials: Sequence[Trial]) -> str:
    """What a measure is, of these trials."""
    if measure != "last5":
        return {"final": "after the last round", "best": "best evaluation, chosen on the test set"}[measure]
    runs = [run for trial in trials for run in (trial.clean, trial.attacked) if run is not None]
    counts = {run.summary().late_evaluations for run in runs} - {0}
    if counts <= {5}:
        return "mean of the last five evaluations"
    if len(counts) == 1:
        (few,) = counts
        return "the only evaluation" if few == 1 else f"mean of all {few} evaluations, as there were no five"
    return "mean of the last five evaluations, or of all where there were fewer"


@dataclass(frozen=True)
class AccuracyTable:
    """``stubs``: names of the row labels; ``rules``: names of the column groups, with ``columns`` each: accuracy in %,
    accuracy under attack in %, drop in percentage points; where any attack has a goal also how often it was reached
    without and with the attack, in %. ``rows``: labels and then cells, as printed. ``notes``: what ± and the marks
    mean. ``meaning``: of the measure.
    """

    measure: Measure
    stubs: list[str]
    rules: list[str]
    rows: list[list[str]]
    notes: list[str]
    meaning: str
    columns: tuple[str, ...] = ("Acc", "Acc_attack", "Acc_drop")


SUCCESS = ("ASR_clean", "ASR")


def accuracy_table(trials: Sequence[Trial], measure: Measure) -> AccuracyTable:
    """One row for each model, protocol, split and whatever else differs; seeds are put together as mean ± standard
    deviation."""
    rule_keys = list(dict.fromkeys(key(trial.scenario.get("defense")) for trial in trials))
    rule_parts = {key(trial.scenario.get("defense")): trial.scenario.get("defense") for trial in trials}
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(_row_key(trial.scenario), []).append(trial)
    groups = _join_clean(groups)
    ordered = sorted(groups.values(), key=_place)
    settings = _settings([group[0].scenario for group in ordered])
    # One population is in the report's title; several need a column.
    first = 1 if len({_labels(group[0].scenario)[0] for group in ordered}) == 1 else 0
    stubs = ["Population", "Model", "Protocol", "Split"][first:] + (["Setting"] if any(settings) else [])
    rows = []
    marks: set[str] = set()
    goals = any(value is not None for trial in trials for value in successes(trial, measure)[::2])
    for group, setting in zip(ordered, settings, strict=True):
        scenario = group[0].scenario
        row = [*_labels(scenario)[first:], *([setting] if any(settings) else [])]
        for rule in rule_keys:
            chosen = [trial for trial in group if key(trial.scenario.get("defense")) == rule]
            cells, found = _cells(chosen, measure)
            row += cells
            marks |= found
            if goals:
                cells, found = _success_cells(chosen, measure)
                row += cells
                marks |= found
        rows.append(row)
    notes = {
        "†": "† unfinished: some run in this cell has not reached its last round",
        "‡": "‡ diverged: loss or weights of some run in this cell stopped being finite",
        "*": "* of the attacked run, at its last evaluation before the attack",
    }
    names = labels([rule_parts[rule] for rule in rule_keys])
    rules = [
        name if rule_parts[rule] is not None else "no defence" for name, rule in zip(names, rule_keys, strict=True)
    ]
    seeds = (
        sum(key(trial.scenario.get("defense")) == rule for trial in group) for group in ordered for rule in rule_keys
    )
    used_notes = [note for note in [spread_note(seeds)] if note] + [t for mark, t in notes.items() if mark in marks]
    columns = AccuracyTable.columns + SUCCESS if goals else AccuracyTable.columns
    return AccuracyTable(measure, stubs, rules, rows, used_notes, meaning(measure, trials), columns)


def to_html(table: AccuracyTable) -> str:
    """The table as HTML with a two-storey head; equal labels below one another are written once."""
    stubs = "".join(f'<th rowspan="2" scope="col">{html.escape(stub)}</th>' for stub in table.stubs)
    each = len(table.columns)
    rules = "".join(
        f'<th colspan="{each}" scope="colgroup" class="rule">{html.escape(rule)}</th>' for rule in table.rules
    )
    columns = (
        '<th scope="col" class="n first">Acc</th>'
        '<th scope="col" class="n">Acc<sub>attack</sub></th>'
        '<th scope="col" class="n">Acc<sub>drop</sub></th>'
        + ('<th scope="col" class="n">ASR<sub>clean</sub></th><th scope="col" class="n">ASR</th>' if each > 3 else "")
    ) * len(table.rules)
    body = []
    above: list[str] = []
    width = len(table.stubs)
    for row in table.rows:
        fresh = [place for place in range(width) if row[: place + 1] != above[: place + 1]]
        heads = "".join(
            f'<th scope="row">{html.escape(row[place]) if place in fresh else ""}</th>' for place in range(width)
        )
        cells = "".join(
            f'<td class="n{" first" if place % each == 0 else ""}{" drop" if place % each == 2 else ""}">{html.escape(cell)}</td>'
            for place, cell in enumerate(row[width:])
        )
        body.append(f"<tr{_rule_above(fresh, table.stubs, above)}>{heads}{cells}</tr>")
        above = row
    notes = "".join(f"<p class=note>{html.escape(note)}</p>" for note in table.notes)
    return (
        f'<div class="wide"><table class="paper"><thead><tr>{stubs}{rules}</tr><tr>{columns}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>{notes}"
    )


def to_markdown(table: AccuracyTable) -> str:
    """The table as GitHub Markdown, for a terminal or a README; one head line, ``TrimmedMean Acc`` and so on."""
    head = table.stubs + [f"{rule} {column}" for rule in table.rules for column in table.columns]
    width = len(table.stubs)
    lines = [head, [":--"] * width + ["--:"] * (len(head) - width), *table.rows]
    body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    success = "; ASR: attack success rate in %" if SUCCESS[0] in table.columns else ""
    return "\n\n".join(
        [f"Test accuracy in %, {table.meaning}; drop in percentage points{success}.", body, *table.notes]
    )


def _row_key(scenario: Mapping[str, Any]) -> str:
    return key(scenario, without=("name", "seed", "defense"))


def _join_clean(groups: dict[str, list[Trial]]) -> dict[str, list[Trial]]:
    """Put clean trials without an attacked partner into the rows of their model, where an attack on another rule made
    any."""
    bases: dict[str, list[str]] = {}
    for name, group in groups.items():
        if group[0].attacked is not None:
            bases.setdefault(key(group[0].scenario, without=("name", "seed", "defense", "attack")), []).append(name)
    joined = {name: list(group) for name, group in groups.items()}
    for name, group in groups.items():
        if group[0].attacked is None:
            hosts = bases.get(key(group[0].scenario, without=("name", "seed", "defense", "attack")), [])
            for host in hosts:
                joined[host] += group
            if hosts:
                del joined[name]
    return joined


def _labels(scenario: Mapping[str, Any]) -> list[str]:
    names = [type_name(scenario.get(part)) for part in ("population", "model", "protocol")]
    return [*names, split(scenario)]


def _place(group: list[Trial]) -> tuple[object, ...]:
    """Federated learning before split, as table 1 comes before table 2; then as the paper orders models and cuts."""
    scenario = group[0].scenario
    population, model, protocol, cut = _labels(scenario)
    return population, model, not is_unsplit(scenario), protocol, cut, _row_key(scenario)


def _settings(scenarios: Sequence[Mapping[str, Any]]) -> list[str]:
    """What tells rows apart beyond their labels, found from the rows that have equal labels."""
    texts = [""] * len(scenarios)
    names = [tuple(_labels(scenario)) for scenario in scenarios]
    for name in set(names):
        places = [place for place, other in enumerate(names) if other == name]
        parts = [{k: v for k, v in scenarios[p].items() if k not in ("name", "seed", "defense")} for p in places]
        for place, text in zip(places, differences(parts), strict=True):
            texts[place] = text
    return texts


def _cells(trials: Sequence[Trial], measure: Measure) -> tuple[list[str], set[str]]:
    pairs = [trial.accuracy(measure) for trial in trials]
    clean = spread([value for value, _ in pairs if value is not None])
    attacked = spread([value for _, value in pairs if value is not None])
    drop = spread([value for value in (trial.drop(measure) for trial in trials) if value is not None])
    clean_marks = _marks([trial.clean for trial in trials])
    attacked_marks = _marks([trial.attacked for trial in trials])
    cells = [
        clean + (clean_marks if clean != NONE else ""),
        attacked + (attacked_marks if attacked != NONE else ""),
        drop,
    ]
    return cells, set("".join(cells)) & {"†", "‡"}


def _success_cells(trials: Sequence[Trial], measure: Measure) -> tuple[list[str], set[str]]:
    found = [successes(trial, measure) for trial in trials]
    clean = spread([value for value, _, _ in found if value is not None])
    before = "*" if clean != NONE and any(early and value is not None for value, early, _ in found) else ""
    return [clean + before, spread([value for _, _, value in found if value is not None])], set(before)


def _marks(runs: Sequence[Any]) -> str:
    known = [run for run in runs if run is not None]
    unfinished = any(not run.state.finished for run in known)
    diverged = any(run.summary().diverged for run in known)
    return "†" * unfinished + "‡" * diverged


def _rule_above(fresh: list[int], stubs: list[str], above: list[str]) -> str:
    """A hairline where a new population, model or protocol begins."""
    return ' class="group"' if above and fresh and fresh[0] < stubs.index("Split") else ""
