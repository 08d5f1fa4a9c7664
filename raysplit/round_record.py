"""From a round's results to rows of its tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from raysplit.engine.engine import ClientScores, EngineCounts
from raysplit.fed_server import Meeting
from raysplit.metrics.tables import Tables
from raysplit.population.cohort import Drawn
from raysplit.protocols.plan import ClientRecord, Outcome, RoundPlan


@dataclass(frozen=True)
class Evaluated:
    """Test results over all evaluated samples, and their spread over clients (fractions; NaN-free: None without clients)."""

    clients: int
    samples: int
    loss: float
    accuracy: float
    client_mean: float
    client_sd: float
    client_p10: float

    @staticmethod
    def of(scores: ClientScores) -> Evaluated:
        samples = int(scores.samples.sum())
        per_client = scores.correct[scores.samples > 0] / scores.samples[scores.samples > 0]
        return Evaluated(
            clients=len(scores.clients),
            samples=samples,
            loss=float(scores.loss.sum() / samples),
            accuracy=float(scores.correct.sum() / samples),
            client_mean=float(per_client.mean()),
            client_sd=float(per_client.std(ddof=1)) if len(per_client) > 1 else 0.0,
            client_p10=float(np.percentile(per_client, 10)),
        )


def record_round(
    tables: Tables,
    plan: RoundPlan,
    drawn: Drawn,
    outcome: Outcome,
    meeting: Meeting | None,
    counts: EngineCounts,
    *,
    norm: float,
    seconds: float,
    attacked: bool,
    diverged: bool,
) -> dict[str, Any]:
    """Append a round to all tables but evaluations; returns its row of ``rounds``."""
    records = [outcome.records.get(position, ClientRecord()) for position in range(len(plan.clients))]
    seen = np.array([record.samples_seen for record in records], dtype=np.int64)
    loss = np.array([record.loss for record in records])
    correct = np.array([record.correct for record in records], dtype=np.int64)
    total = int(seen.sum())
    row: dict[str, Any] = {
        "round": plan.round,
        "train_loss": float(loss.sum() / total),
        "train_accuracy": float(correct.sum() / total),
        "samples": int(plan.samples.sum()),
        "clients": len(plan.cohort),
        "malicious": int(drawn.malicious.sum()),
        "update_norm": norm,
        "wall_s": seconds,
        "clients_per_s": len(plan.cohort) / seconds,
        "peak_memory_bytes": counts.peak_memory_bytes,
        "ray_calls": counts.ray_calls,
        "retries": counts.retries,
        "attacked": attacked,
        "diverged": diverged,
    }
    tables.rounds.append(row)
    pooled = len(plan.clients) != len(drawn.malicious)
    norms = None if meeting is None else meeting.update_norms
    tables.clients.append_columns(
        {
            "round": np.full(len(records), plan.round, dtype=np.int32),
            "client": plan.clients,
            "malicious": np.zeros(len(records), dtype=bool) if pooled else drawn.malicious,
            "samples": plan.samples.astype(np.int32),
            "steps": np.array([record.steps for record in records], dtype=np.int32),
            "train_loss": loss / np.maximum(seen, 1),
            "train_accuracy": correct / np.maximum(seen, 1),
            **({} if norms is None else {"update_norm": norms}),
        }
    )
    if meeting is not None and len(plan.cohort) == len(plan.clients):
        tables.aggregation.append(meeting.aggregation)
        if meeting.attack is not None:
            tables.attacks.append(meeting.attack)
    tables.channels.append(
        [
            {"round": plan.round, "channel": channel, "messages": m, "bytes": b + labels, "label_bytes": labels}
            for channel, (m, b, labels) in sorted(outcome.traffic.items())
        ]
    )
    return row


def record_evaluation(tables: Tables, round: int, evaluated: Evaluated, diverged: bool) -> None:
    """Append an evaluation of the global model."""
    tables.evaluations.append(
        {
            "round": round,
            "split": "test",
            "clients": evaluated.clients,
            "samples": evaluated.samples,
            "loss": evaluated.loss,
            "accuracy": evaluated.accuracy,
            "client_accuracy_mean": evaluated.client_mean,
            "client_accuracy_sd": evaluated.client_sd,
            "client_accuracy_p10": evaluated.client_p10,
            "diverged": diverged,
        }
    )
