"""How often an attack with a goal reached it: with the attack, and without."""

from __future__ import annotations

from typing import Any

from raysplit.analysis.report.pairs import Measure, Trial
from raysplit.analysis.report.plots import first_attacked_round
from raysplit.analysis.runs.run import Run


def successes(trial: Trial, measure: Measure) -> tuple[float | None, bool, float | None]:
    """Attack success without the attack, whether that was measured in the attacked run before it began, and with the
    attack.

    Fractions, at those evaluations that ``measure`` names; None where none was measured. Without the attack: of the
    clean run where it measured the same (``Evaluation.success_of``), else of the attacked run's last evaluation before
    its first attacked round.
    """
    attacked = _success(trial.attacked, measure)
    clean = _success(trial.clean, measure)
    if clean is not None or trial.attacked is None:
        return clean, False, attacked
    start = first_attacked_round(trial.attacked)
    before = [row for row in _rows(trial.attacked) if start is None or row["round"] < start]
    return (before[-1].get("attack_success") if before else None), True, attacked


def _success(run: Run | None, measure: Measure) -> float | None:
    rows = [] if run is None else _rows(run)
    if not rows:
        return None
    if measure == "last5":
        known = [row["attack_success"] for row in rows[-5:] if row.get("attack_success") is not None]
        return sum(known) / len(known) if known else None
    assert run is not None
    wanted = run.summary().best_round if measure == "best" else rows[-1]["round"]
    return next((row.get("attack_success") for row in rows if row["round"] == wanted), None)


def _rows(run: Run) -> list[dict[str, Any]]:
    return [row for row in run.evaluations.to_pylist() if row["split"] == "test"]
