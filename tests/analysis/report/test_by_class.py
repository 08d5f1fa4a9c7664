"""Accuracy by class in the tables of results."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from raysplit.analysis.report.files import csv_text
from raysplit.analysis.report.sweep import RESULTS, Outcome, results
from tests.analysis.report.made_up import make_run, scenario


def test_results_have_balanced_accuracy_and_each_class_where_classes_are_few(tmp_path: Path) -> None:
    few, many, before = (
        make_run(tmp_path / str(classes), scenario(), rounds=4, classes=classes) for classes in (5, 62, None)
    )
    found = [Outcome(run.scenario, run.path, run, "") for run in (few, many, before)]
    table = results([*found, Outcome(scenario(), tmp_path / "none", None, "")])
    assert table.schema.equals(RESULTS)
    rows = table.to_pylist()
    share = rows[0]["final"]
    assert rows[0]["class_accuracy"] == [0.0, share, share, share, None]
    assert rows[0]["balanced_accuracy"] == pytest.approx(3 * share / 4)
    assert rows[0]["macro_f1"] == pytest.approx(3 * share / 8)
    assert rows[1]["class_accuracy"] is None and rows[1]["balanced_accuracy"] > 0
    assert all(rows[place][name] is None for place in (2, 3) for name in ("balanced_accuracy", "macro_f1"))
    lines = list(csv.DictReader(io.StringIO(csv_text(RESULTS.names, rows))))
    assert json.loads(lines[0]["class_accuracy"]) == rows[0]["class_accuracy"]
    assert lines[1]["class_accuracy"] == lines[2]["balanced_accuracy"] == ""
