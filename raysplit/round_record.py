"""From a round's results to rows of its tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from raysplit.engine.engine import ClientScores, EngineCounts
from raysplit.fed_server import Meeting
from raysplit.metrics.tables import Tables
from raysplit.population.cohort import Turnout
from raysplit.protocols.plan import Outcome, RoundPlan


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
    turnout: Turnout,
    outcome: Outcome,
    meeting: Meeting | None,
    counts: EngineCounts,
    *,
    absent_samples: np.ndarray,
    norm: float,
    seconds: float,
    attacked: bool,
    diverged: bool,
) -> dict[str, Any]:
    """Append a round to all tables but evaluations; returns its row of ``rounds``. ``absent_samples``: of those who never trained."""
    drawn, dropped = turnout.reporting, turnout.dropped
    records = [outcome.records[position] for position in range(plan.reporting)]
    seen = np.array([record.samples_seen for record in records], dtype=np.int64)
    loss = np.array([record.loss for record in records])
    correct = np.array([record.correct for record in records], dtype=np.int64)
    total = int(seen.sum())
    row: dict[str, Any] = {
        "round": plan.round,
        "train_loss": float(loss.sum() / total) if records else None,
        "train_accuracy": float(correct.sum() / total) if records else None,
        "samples": int(plan.samples[: plan.reporting].sum()),
        "clients": len(drawn.clients),
        "dropped": len(dropped.clients),
        "malicious": int(drawn.malicious.sum()),
        "update_norm": norm,
        "wall_s": seconds,
        "clients_per_s": len(drawn.clients) / seconds,
        "peak_memory_bytes": counts.peak_memory_bytes,
        "ray_calls": counts.ray_calls,
        "retries": counts.retries,
        "attacked": attacked,
        "diverged": diverged,
    }
    tables.rounds.append(row)
    pooled = plan.reporting != len(drawn.malicious)
    norms = None if meeting is None else meeting.update_norms
    tables.clients.append_columns(
        {
            "round": np.full(len(records), plan.round, dtype=np.int32),
            "client": plan.clients[: plan.reporting],
            "malicious": np.zeros(len(records), dtype=bool) if pooled else drawn.malicious,
            "dropped": np.zeros(len(records), dtype=bool),
            "samples": plan.samples[: plan.reporting].astype(np.int32),
            "steps": np.array([record.steps for record in records], dtype=np.int32),
            "train_loss": loss / np.maximum(seen, 1),
            "train_accuracy": correct / np.maximum(seen, 1),
            **({} if norms is None else {"update_norm": norms}),
        }
    )
    lost = [outcome.records[position].steps for position in range(plan.reporting, len(plan.clients))]
    tables.clients.append_columns(
        {
            "round": np.full(len(dropped.clients), plan.round, dtype=np.int32),
            "client": dropped.clients,
            "malicious": dropped.malicious,
            "dropped": np.ones(len(dropped.clients), dtype=bool),
            "samples": np.concatenate([plan.samples[plan.reporting :], absent_samples]).astype(np.int32),
            "steps": np.array([*lost, *[0] * len(absent_samples)], dtype=np.int32),
        }
    )
    if meeting is not None and not pooled:
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
