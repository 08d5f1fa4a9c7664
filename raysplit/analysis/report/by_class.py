"""Accuracy by class in reports: balanced accuracy always, each class where a reader can take in so many numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raysplit.analysis.report.numbers import percent
from raysplit.analysis.runs.run import Run

CLASSES_SHOWN = 20
"""Of more classes reports show no accuracies one by one; they are in metrics/evaluations.arrow."""


def class_facts(run: Run) -> list[tuple[str, str]]:
    """(name, text) of a run's last evaluation; texts are empty before it, and in runs of versions that did not record
    it."""
    last = _last(run)
    balanced, f1, by_class = (last.get(name) for name in ("balanced_accuracy", "macro_f1", "class_accuracy"))
    few = by_class if by_class is not None and len(by_class) <= CLASSES_SHOWN else []
    means = f"{percent(balanced)}\u00a0%, mean over classes; macro-F1 {percent(f1)}\u00a0%"
    return [
        ("Balanced accuracy", "" if balanced is None else means),
        ("Accuracy by class", ", ".join(f"{label}: {percent(share)}" for label, share in enumerate(few))),
    ]


def class_results(run: Run | None) -> dict[str, Any]:
    """The columns of a table of results, of the last evaluation, as fractions; ``class_accuracy`` only of few
    classes."""
    last = _last(run)
    by_class = last.get("class_accuracy")
    return {
        "balanced_accuracy": last.get("balanced_accuracy"),
        "macro_f1": last.get("macro_f1"),
        "class_accuracy": by_class if by_class is not None and len(by_class) <= CLASSES_SHOWN else None,
    }


def _last(run: Run | None) -> Mapping[str, Any]:
    rows = [] if run is None else [row for row in run.evaluations.to_pylist() if row["split"] == "test"]
    return rows[-1] if rows else {}
