"""What clients' detectors said of the main server, in the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raysplit.analysis.report.markup import paragraph, table
from raysplit.analysis.report.numbers import NONE, count, significant
from raysplit.analysis.runs.run import Run


def client_detection_section(run: Run) -> str:
    """HTML; empty where no detector stands at clients. A row a detector."""
    by_detector: dict[str, list[dict[str, Any]]] = {}
    for row in run.client_scores.to_pylist():
        by_detector.setdefault(row["detector"], []).append(row)
    if not by_detector:
        return ""
    head = [
        ("Detector", ""),
        ("Clients", "with a score"),
        ("Scores", ""),
        ("Mean score", ""),
        ("Lowest mean", "of a client's last"),
        ("Clients", "with an alarm"),
        ("First alarm", "round"),
        ("First alarm", "batch of its client"),
    ]
    note = (
        "A score is near 1 where the main server trains on the client's task. An alarm: the mean of a client's last "
        "scores lay below the detector's threshold."
    )
    lead = "<h3>Detection at clients</h3>\n"
    return lead + table(head, [_line(name, rows) for name, rows in by_detector.items()]) + paragraph(note, "note")


def _line(detector: str, rows: list[dict[str, Any]]) -> list[str]:
    alarms: list[Mapping[str, Any]] = [row for row in rows if row["attack"]]
    first = min(alarms, key=lambda row: (row["round"], row["batch"]), default=None)
    return [
        detector,
        count(len({row["client"] for row in rows})),
        count(len(rows)),
        significant(sum(row["score"] for row in rows) / len(rows)),
        significant(min((row["mean"] for row in rows if row["mean"] is not None), default=None)),
        count(len({row["client"] for row in alarms})),
        NONE if first is None else count(first["round"]),
        NONE if first is None else count(first["batch"]),
    ]
