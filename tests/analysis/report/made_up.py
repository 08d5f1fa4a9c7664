"""Run folders made up to look like small real ones: accuracy that rises, and falls once poisoning starts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from raysplit.analysis.runs.run import Run, open_run
from raysplit.storage import open_tables
from raysplit.storage.atomic import write_json

TRIMMED_MEAN = {"type": "TrimmedMean", "trim": "assumed"}
MEDIAN = {"type": "Median", "middle": "lower"}
START = 12


def scenario(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "name": "femnist-sflv2-v2",
        "population": {"type": "Femnist", "path": None},
        "model": {"type": "FemnistCnn", "cut": "V2", "tail": None},
        "protocol": {"type": "SplitFedV2", "order": "interleaved"},
        "cohort": {"type": "Cohort", "size": 100, "malicious": 0.2},
        "training": {"type": "Training", "rounds": 40, "lr": 0.001, "batch_size": None, "local_epochs": 1},
        "attack": None,
        "defense": TRIMMED_MEAN,
        "seed": 42,
    }
    return whole | changes


def tailored(**changes: Any) -> dict[str, Any]:
    return {"type": "AgrTailored", "perturbation": "std", "start_round": START} | changes


def make_run(
    folder: Path,
    of: dict[str, Any],
    *,
    top: float = 0.85,
    drop: float = 0.0,
    rounds: int = 40,
    status: str = "finished",
    diverged_at: int | None = None,
    synthetic: bool = False,
    classes: int | None = None,
) -> Run:
    """A run of ``rounds`` whose accuracy tends to ``top`` and, where the scenario attacks, to ``top - drop`` from
    ``START`` on. ``classes``: of which it recorded the accuracy, 0 of the first, and of the last nothing; None: as a
    version before that."""
    attack = of["attack"]
    rng = np.random.default_rng([of["seed"], int(1000 * top)])
    with open_tables(folder / "metrics") as tables:
        for number in range(1, rounds + 1):
            lying = attack is not None and number >= START
            gone = diverged_at is not None and number >= diverged_at
            malicious = int(np.clip(rng.normal(20, 4), 8, 34))
            accuracy = top * (1 - math.exp(-number / 6)) + float(rng.normal(0, 0.006))
            if lying:
                accuracy -= drop * (1 - math.exp(-(number - START + 1) / 5))
            accuracy = 1 / 62 if gone else max(accuracy, 1 / 62)
            loss = math.nan if gone else -math.log(max(accuracy, 0.02)) * 1.4
            tables.rounds.append(
                {
                    "round": number, "train_loss": loss, "train_accuracy": accuracy * 1.02, "samples": 22_683, "clients": 100,
                    "malicious": malicious, "update_norm": 0.9 / number**0.5, "wall_s": 1.62 + float(rng.random()) / 5,
                    "clients_per_s": 57.0, "peak_memory_bytes": 1_830_000_000, "ray_calls": 6, "retries": 0,
                    "attacked": lying, "diverged": gone,
                }
            )  # fmt: skip
            tables.clients.append(
                [
                    {
                        "round": number, "client": int(client), "malicious": row < 1, "samples": 220, "steps": 1,
                        "train_loss": loss, "train_accuracy": accuracy, "update_norm": 0.1,
                    }
                    for row, client in enumerate(rng.integers(0, 3550, 4))
                ]
            )  # fmt: skip
            tables.aggregation.append(
                {
                    "round": number, "portion": "client", "rule": (of["defense"] or {"type": "Mean"})["type"], "n": 100, "d": 13_248,
                    "assumed": 20, "actual": malicious, "trim": 20 if of["defense"] == TRIMMED_MEAN else None,
                    "broken": malicious > 20, "rejected_share": None, "bias": 0.031, "relative_bias": 0.42 if lying else 0.05,
                    "cosine": 0.71 if lying else 0.998, "seconds": 0.012,
                }
            )  # fmt: skip
            if lying:
                tables.attacks.append(
                    {
                        "round": number, "attack": attack["type"], "m": malicious, "gamma": 6.1 + float(rng.random()),
                        "objective": 0.031, "certificate": 0.0311, "seconds": 0.004, "knowledge": "full",
                    }
                )  # fmt: skip
            for channel, size, label in (
                ("weights", 5_299_200, 0), ("smashed", 72_586_000, 181_464), ("cut_gradients", 72_404_536, 0), ("updates", 5_299_200, 0)
            ):  # fmt: skip
                tables.channels.append(
                    {"round": number, "channel": channel, "messages": 100, "bytes": size, "label_bytes": label}
                )
            if number % 2 == 0:
                tables.evaluations.append(
                    {
                        "round": number, "split": "test", "clients": 3550, "samples": 81_708, "loss": loss, "accuracy": accuracy,
                        "client_accuracy_mean": accuracy - 0.004, "client_accuracy_sd": 0.081,
                        "client_accuracy_cv": 8.1 / max(accuracy, 0.01), "client_accuracy_worst_decile": max(accuracy - 0.19, 0.0),
                        **{f"client_accuracy_p{p}": min(max(accuracy + (p - 50) * 0.0028, 0.0), 1.0) for p in (10, 25, 50, 75, 90)},
                        "diverged": gone,
                        **({} if classes is None else by_class(classes, accuracy)),
                    }
                )  # fmt: skip
    write_json(folder / "scenario.json", of)
    write_json(
        folder / "environment.json",
        {"raysplit": "0.1.0", "torch": "2.15.0", "python": "3.11.7", "cpu": "AMD EPYC", "gpu": None},
    )
    write_json(
        folder / "run.json",
        {
            "status": status, "rounds": rounds, "digest": f"sha256:{'4fd0c1' * 8}",
            "population": {"name": "femnist", "clients": 3550, "synthetic": synthetic},
            "threat_model": None if attack is None else {"sees": ["updates"], "changes": ["updates"], "knowledge": "full"},
        },
    )  # fmt: skip
    return open_run(folder)


def by_class(classes: int, accuracy: float) -> dict[str, Any]:
    shares = [0.0, *[accuracy] * (classes - 2), None]
    balanced = accuracy * (classes - 2) / (classes - 1)
    return {"balanced_accuracy": balanced, "macro_f1": balanced / 2, "class_accuracy": shares}


def pair(folder: Path, *, top: float = 0.85, drop: float = 0.3, **changes: Any) -> list[Run]:
    """A clean and an attacked run of one scenario."""
    attack = changes.pop("attack", tailored())
    name = scenario(**changes)["name"]
    clean = make_run(folder / "clean", scenario(**changes, attack=None) | {"name": f"{name}-clean"}, top=top)
    return [clean, make_run(folder / "attacked", scenario(**changes, attack=attack), top=top, drop=drop)]


def table_two(folder: Path) -> list[Run]:
    """Federated and split-federated runs with two rules and three cuts, drops as in the paper's AlexNet rows."""
    drops = {
        (None, "TrimmedMean"): 0.493, (None, "Median"): 0.292, ("V1", "TrimmedMean"): 0.0905, ("V1", "Median"): 0.0742,
        ("V2", "TrimmedMean"): 0.2939, ("V2", "Median"): 0.2634, ("V3", "TrimmedMean"): 0.4142, ("V3", "Median"): 0.291,
    }  # fmt: skip
    runs = []
    for (cut, rule), drop in drops.items():
        protocol = {"type": "FedAvg"} if cut is None else {"type": "SplitFedV2", "order": "interleaved"}
        runs += pair(
            folder / f"{cut}-{rule}",
            top=0.63,
            drop=drop,
            name=f"{'fl' if cut is None else 'sflv2-' + cut.lower()}-{rule.lower()}",
            protocol=protocol,
            model={"type": "FemnistCnn", "cut": cut, "tail": None},
            defense=TRIMMED_MEAN if rule == "TrimmedMean" else MEDIAN,
        )
    return runs
