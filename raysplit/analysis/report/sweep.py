"""The results of many scenarios as tables of attacks against rules, one for each protocol, cut and share of malicious
clients.

Which scenario is in which cell is read off the scenarios themselves, not off their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from raysplit.analysis.report.by_class import class_results
from raysplit.analysis.report.numbers import NONE, spread, spread_note
from raysplit.analysis.report.pairs import (
    Measure,
    Trial,
    differences,
    is_unsplit,
    key,
    labels,
    names,
    split,
    trials,
    type_name,
)
from raysplit.analysis.report.swept import swept
from raysplit.analysis.runs.run import Run, Summary, open_run
from raysplit.errors import RunError
from raysplit.scenario.scenario import Scenario

CLEAN = "no attack"
MARKS = {"†": "† unfinished, failed or missing", "‡": "‡ diverged: loss or weights stopped being finite"}


@dataclass(frozen=True)
class Outcome:
    """One scenario and what became of it. ``run``: None where nothing was recorded. ``why``: the sentence of an error
    that stopped it."""

    scenario: Mapping[str, Any]
    folder: Path
    run: Run | None
    why: str

    @property
    def status(self) -> str:
        """finished, diverged, failed, unfinished or missing."""
        if self.why:
            return "failed"
        if self.run is None:
            return "missing"
        return self.run.state.status if self.run.state.finished else "unfinished"


@dataclass(frozen=True)
class Cell:
    """Test accuracies and drops as fractions, one a seed. ``marks``: † unfinished or failed, ‡ diverged."""

    accuracies: Sequence[float]
    drops: Sequence[float]
    marks: str

    def texts(self) -> tuple[str, str]:
        """Accuracy in % and drop in points, as printed."""
        accuracy = spread(self.accuracies)
        return accuracy + (self.marks if accuracy != NONE else ""), spread(self.drops)


@dataclass(frozen=True)
class Grid:
    """One table: ``attacks`` down, without one first, and ``rules`` across, both in the order of the scenarios."""

    title: str
    attacks: list[str]
    rules: list[str]
    cells: Mapping[tuple[str, str], Cell]

    @property
    def means(self) -> bool:
        """Whether cells are means over seeds."""
        return any(len(cell.accuracies) > 1 for cell in self.cells.values())

    @property
    def notes(self) -> list[str]:
        """What ± and the marks mean, where there are any."""
        marks = {mark for cell in self.cells.values() for mark in cell.marks}
        spreads = spread_note(len(cell.accuracies) for cell in self.cells.values())
        return [text for text in (spreads, *(text for mark, text in MARKS.items() if mark in marks)) if text]

    def short(self, attack: str, rule: str) -> str:
        """Accuracy in % and, in brackets, the drop in points; nothing where there is no such scenario, and a dash where
        one has no figure."""
        cell = self.cells.get((attack, rule))
        if cell is None:
            return ""
        accuracy, drop = cell.texts()
        return accuracy if drop == NONE else f"{accuracy} ({drop})"


def outcomes(jobs: Sequence[tuple[Scenario, Path, str]]) -> list[Outcome]:
    """Scenarios, their run folders and why they failed, read."""
    return [Outcome(scenario.to_json(), folder, _opened(folder), why) for scenario, folder, why in jobs]


def _opened(folder: Path) -> Run | None:
    try:
        return open_run(folder)
    except RunError:
        return None  # damaged or not begun: a hole in the table, and a row in the list of runs


def runs_of(found: Sequence[Outcome]) -> list[Run]:
    """The runs that there are."""
    return [outcome.run for outcome in found if outcome.run is not None]


def grids(found: Sequence[Outcome], measure: Measure) -> list[Grid]:
    """The tables, in the order of the scenarios."""
    drops = {id(trial.attacked): trial for trial in trials(runs_of(found)) if trial.attacked is not None}
    tables: dict[str, list[Outcome]] = {}
    length = _tells_apart(found)
    for outcome in found:
        tables.setdefault(_place(outcome.scenario, length), []).append(outcome)
    firsts = [members[0].scenario for members in tables.values()]
    titles = titles_of(firsts, differences([rest_of(scenario, length) for scenario in firsts]))
    return [_grid(members, title, drops, measure) for members, title in zip(tables.values(), titles, strict=True)]


def full_grids(found: Sequence[Outcome], measure: Measure) -> list[Grid]:
    """The tables that are one: with several rules, or several attacks."""
    return [
        grid
        for grid in grids(found, measure)
        if len(grid.rules) > 1 or len([attack for attack in grid.attacks if attack != CLEAN]) > 1
    ]


def _tells_apart(found: Sequence[Outcome]) -> bool:
    """Whether some scenarios differ by nothing but how long they train, so that one cell would hold both."""
    texts = [key(outcome.scenario, without=("name", "training", "checkpoint_every")) for outcome in found]
    rests = [key(rest_of(outcome.scenario)) for outcome in found]
    return len(set(zip(texts, rests, strict=True))) < len(found)


def _grid(members: list[Outcome], title: str, drops: Mapping[int, Trial], measure: Measure) -> Grid:
    here = [0] * len(members)
    rules = names([outcome.scenario.get("defense") for outcome in members], here)
    attacks = [
        CLEAN if outcome.scenario.get("attack") is None else name
        for outcome, name in zip(
            members, names([outcome.scenario.get("attack") for outcome in members], here), strict=True
        )
    ]
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome, attack, rule in zip(members, attacks, rules, strict=True):
        groups.setdefault((attack, rule), []).append(outcome)
    cells = {place: _cell(group, drops, measure) for place, group in groups.items()}
    ordered = sorted(dict.fromkeys(attacks), key=lambda attack: attack != CLEAN)
    return Grid(title, ordered, list(dict.fromkeys(rules)), cells)


def _cell(group: list[Outcome], drops: Mapping[int, Trial], measure: Measure) -> Cell:
    accuracies, lost, marks = [], [], set()
    for outcome in group:
        if outcome.run is None:
            marks.add("†")
            continue
        value = getattr(outcome.run.summary(), measure)
        if value is not None:
            accuracies.append(value)
        drop = _drop(drops.get(id(outcome.run)), measure)
        if drop is not None:
            lost.append(drop)
        marks |= {"failed": {"†"}, "unfinished": {"†"}, "diverged": {"‡"}}.get(outcome.status, set())
    return Cell(accuracies, lost, "".join(sorted(marks)))


def _drop(trial: Trial | None, measure: Measure) -> float | None:
    """Of two runs that have ended; an unfinished one would be compared with another round."""
    ended = trial is not None and all(run is not None and run.state.finished for run in (trial.clean, trial.attacked))
    return trial.drop(measure) if trial is not None and ended else None


def titles_of(scenarios: Sequence[Mapping[str, Any]], settings: Sequence[str], share: bool = True) -> list[str]:
    """Of each protocol, cut and, with ``share``, share of malicious clients, and its setting: what else tells it from
    the others."""
    protocols = labels([scenario.get("protocol") for scenario in scenarios])
    texts = []
    for scenario, protocol, setting in zip(scenarios, protocols, settings, strict=True):
        cut = split(scenario)
        where = protocol.replace("FedAvg", "FL (FedAvg)", 1) if protocol.startswith("FedAvg") else protocol
        parts = [where if cut == NONE else f"{where} {cut}"]
        malicious = _mapping(scenario.get("cohort")).get("malicious")
        if share and isinstance(malicious, int | float):
            parts.append(f"{100 * malicious:g} % malicious")
        texts.append(", ".join([*parts, *([setting] if setting else [])]))
    return texts


def _place(scenario: Mapping[str, Any], length: bool) -> str:
    """Of which table a scenario is: all but its attack, rule, seed and name, and, unless ``length``, how long it
    trains."""
    rest = {**rest_of(scenario, length), "protocol": scenario.get("protocol"), "cut": split(scenario)}
    return key({**rest, "malicious": _mapping(scenario.get("cohort")).get("malicious")})


def rest_of(scenario: Mapping[str, Any], length: bool = False) -> dict[str, Any]:
    """What is neither in a table nor in the first half of its title; a whole model has no cut. ``length``: with how
    long it trains."""
    plain = {
        name: value
        for name, value in scenario.items()
        if name not in ("name", "attack", "defense", "seed", "protocol", "checkpoint_every")
    }
    plain["cohort"] = {k: v for k, v in _mapping(scenario.get("cohort")).items() if k != "malicious"}
    plain["training"] = {k: v for k, v in _mapping(scenario.get("training")).items() if length or k != "rounds"}
    plain["model"] = {k: v for k, v in _mapping(scenario.get("model")).items() if k != "cut"}
    return plain


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


_FLOATS = (
    "malicious", "final", "best", "last5", "drop_final", "drop_best", "drop_last5", "balanced_accuracy", "macro_f1",
)  # fmt: skip
_COUNTS = ("rounds", "of", "seed", "attack_start", "defense_start", "final_round", "best_round", "shared_rounds")
_TEXTS = (
    "scenario", "folder", "status", "population", "model", "protocol", "cut", "attack", "defense", "shared_with", "digest", "why",
)  # fmt: skip
RESULTS = pa.schema(
    [
        pa.field(name, kind)
        for group, kind in ((_TEXTS, pa.string()), (_COUNTS, pa.int64()), (_FLOATS, pa.float64()))
        for name in group
    ]
    + [pa.field("class_accuracy", pa.list_(pa.float64()))]
)
"""One row a scenario: what it is, how it ended, accuracies and drops as fractions; of the last evaluation also by
class, where classes are few (in CSV a JSON list)."""


def results(found: Sequence[Outcome]) -> pa.Table:
    """``RESULTS`` of all scenarios, in their order, and a column for every other field in which they differ."""
    places = [_place(outcome.scenario, False) for outcome in found]
    attacks = names([outcome.scenario.get("attack") for outcome in found], places)
    rules = names([outcome.scenario.get("defense") for outcome in found], places)
    drops = {id(trial.attacked): trial for trial in trials(runs_of(found)) if trial.attacked is not None}
    rows = [
        _result(outcome, attack, rule, drops.get(id(outcome.run)))
        for outcome, attack, rule in zip(found, attacks, rules, strict=True)
    ]
    table = pa.Table.from_pylist(rows, RESULTS)
    for name, column in swept([outcome.scenario for outcome in found], RESULTS.names).items():
        table = table.append_column(name, column)
    return table


def _result(outcome: Outcome, attack: str, rule: str, trial: Trial | None) -> dict[str, Any]:
    scenario, run = outcome.scenario, outcome.run
    nothing = Summary(None, None, None, None, None, False)
    summary = nothing if run is None else run.summary()
    record = {} if run is None else run.state.record
    return {
        "scenario": scenario.get("name"),
        "folder": outcome.folder.name,
        "status": outcome.status,
        "population": type_name(scenario.get("population")),
        "model": type_name(scenario.get("model")),
        "protocol": type_name(scenario.get("protocol")),
        "cut": None if is_unsplit(scenario) else split(scenario),
        "attack": None if scenario.get("attack") is None else attack,
        "defense": rule,
        "shared_with": record.get("forked_from"),
        "digest": None if run is None else run.state.digest,
        "why": outcome.why or None,
        "rounds": 0 if run is None else run.state.rounds,
        "of": _mapping(scenario.get("training")).get("rounds"),
        "seed": scenario.get("seed"),
        "attack_start": _mapping(scenario.get("attack")).get("start_round"),
        "defense_start": _mapping(scenario.get("defense")).get("start_round"),
        "shared_rounds": record.get("forked_rounds"),
        "malicious": _mapping(scenario.get("cohort")).get("malicious"),
        "final": summary.final,
        "final_round": summary.final_round,
        "best": summary.best,
        "best_round": summary.best_round,
        "last5": summary.last5,
        "drop_final": _drop(trial, "final"),
        "drop_best": _drop(trial, "best"),
        "drop_last5": _drop(trial, "last5"),
        **class_results(run),
    }
