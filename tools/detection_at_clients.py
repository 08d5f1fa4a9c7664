"""How well detectors at clients tell an honest main server from an attacker, on small MNIST runs.

    python tools/detection_at_clients.py --seeds 20 --out runs/detection

plays every attack, and none, with as many seeds, one client and one epoch each, all detectors side by side, and prints
the tables of docs/how-to/detection.md. Runs that are there already are not played again. MNIST comes from
``$RAYSPLIT_DATA`` (docs/data-sets.md). A run's number is the lowest mean of a detector's last scores: it is found guilty
at a threshold above that, so ranks of these numbers give the area under the ROC curve.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import raysplit
from raysplit import (
    Adam,
    Cohort,
    Detection,
    Evaluation,
    FeatureSpaceHijacking,
    GradientsScrutinizer,
    Iid,
    LabelAwareHijacking,
    RandomLabels,
    Scenario,
    SplitFedV2,
    SplitGuard,
    SplitOut,
    Training,
    mnist,
    partitioned,
    unsplit_mnist,
)
from raysplit.attacks.attack import Attack

ATTACKS: dict[str, Attack | None] = {
    "honest": None,
    "random labels": RandomLabels(),
    "FSHA": FeatureSpaceHijacking(public=500, width=8, blocks=0),
    "label-aware": LabelAwareHijacking(public=500, width=8, blocks=1),
}
DETECTORS = (GradientsScrutinizer(), SplitGuard(), SplitOut())


def scenario_of(name: str, seed: int) -> Scenario:
    """One client with 10,000 images goes over them once, 313 batches of 32."""
    return Scenario(
        name=f"{name.replace(' ', '-')}-{seed}",
        population=partitioned(mnist(), Iid(), clients=6),
        model=unsplit_mnist(cut="2"),
        protocol=SplitFedV2(),
        cohort=Cohort(size=1),
        training=Training(rounds=1, lr=1e-3, batch_size=32, optimizer=Adam()),
        attack=ATTACKS[name],
        detection=Detection(at_clients=DETECTORS),
        evaluation=Evaluation(clients=1),
        seed=seed,
    )


class Judged(NamedTuple):
    """One run as one detector saw it. ``lowest``: of the means; None where it said nothing. ``first``: the batch of the
    first alarm. ``alarms``: scores with which the mean lay below the threshold; ``at_end``: whether the last one did."""

    lowest: float | None
    first: int | None
    alarms: int
    at_end: bool


def judged(rows: Sequence[dict[str, Any]], detector: str) -> Judged:
    """From rows of ``client_scores``."""
    own = [row for row in rows if row["detector"] == detector and row["mean"] is not None]
    alarms = [row["batch"] for row in own if row["attack"]]
    lowest = min((row["mean"] for row in own), default=None)
    return Judged(lowest, min(alarms, default=None), len(alarms), bool(own) and own[-1]["attack"])


def area_under_roc(honest: Sequence[float], attacked: Sequence[float]) -> float:
    """P(attacked < honest) + P(equal) / 2 over all pairs."""
    pairs = [(a < h) + (a == h) / 2 for a in attacked for h in honest]
    return sum(pairs) / len(pairs)


def table(found: dict[str, list[list[dict[str, Any]]]]) -> list[str]:
    """The lines of a table, a row for each detector and attack."""
    head = (
        "detector",
        "main server",
        "AUC",
        "runs with an alarm",
        "first alarm, batch",
        "alarms an epoch",
        "at its end",
    )
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for detector in (type(one).__name__ for one in DETECTORS):
        honest = [one.lowest for one in (judged(rows, detector) for rows in found["honest"]) if one.lowest is not None]
        for attack, runs in found.items():
            seen = [judged(rows, detector) for rows in runs]
            own = [one.lowest for one in seen if one.lowest is not None]
            area = "" if attack == "honest" or not own or not honest else f"{area_under_roc(honest, own):.2f}"
            firsts = sorted(one.first for one in seen if one.first is not None)
            when = f"{statistics.median(firsts):.0f} ({firsts[0]} to {firsts[-1]})" if firsts else "–"
            alarms = sum(one.alarms for one in seen) / len(seen)
            end = sum(one.at_end for one in seen)
            cells = (f"`{detector}`", attack, area, f"{len(firsts)} of {len(seen)}", when, f"{alarms:.1f}", str(end))
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("runs/detection"))
    arguments = parser.parse_args()
    found: dict[str, list[list[dict[str, Any]]]] = {name: [] for name in ATTACKS}
    accuracy: dict[str, list[float]] = {name: [] for name in ATTACKS}
    for seed in range(1, arguments.seeds + 1):
        for name in ATTACKS:
            run = raysplit.run(scenario_of(name, seed), engine="local", out=arguments.out)
            found[name].append(run.client_scores.to_pylist())
            accuracy[name].append(run.evaluations.to_pylist()[-1]["accuracy"])
    print("\n".join(table(found)))
    for name, values in accuracy.items():
        print(f"test accuracy, {name}: {statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")


if __name__ == "__main__":
    main()
