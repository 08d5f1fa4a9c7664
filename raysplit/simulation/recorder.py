"""From a round's results to rows of its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raysplit.aggregation.fed_server import AggregationResult
from raysplit.channels.channel import Channel
from raysplit.costs.clock import Timed
from raysplit.engine.engine import EngineCounts
from raysplit.population.selection.cohort import Participation
from raysplit.protocols.outcome import ClientRecord, ClientScores, Outcome, Poisoning
from raysplit.protocols.plan import RoundPlan
from raysplit.storage.spread import Spread
from raysplit.storage.tables import Tables

_NORMS = {Channel.UPDATES: "update_norm", Channel.SERVER_UPDATES: "server_update_norm"}
"""Columns of ``clients``."""


@dataclass(frozen=True)
class Evaluated:
    """Test results over all evaluated samples, and their spread over clients.

    ``attack_samples``: with which an attack tried its luck, None where no attack has a goal; ``attack_success``: the
    share of them that were classified as it wants, None where there were none."""

    clients: int
    samples: int
    loss: float
    accuracy: float
    spread: Spread
    scores: ClientScores
    attack_samples: int | None = None
    attack_success: float | None = None

    @staticmethod
    def of(scores: ClientScores) -> Evaluated:
        samples = int(scores.samples.sum())
        per_client = scores.correct[scores.samples > 0] / scores.samples[scores.samples > 0]
        attempts = None if scores.attempts is None else int(scores.attempts.sum())
        return Evaluated(
            clients=len(scores.clients),
            samples=samples,
            loss=float(scores.loss.sum() / samples),
            accuracy=float(scores.correct.sum() / samples),
            spread=Spread.of(per_client),
            scores=scores,
            attack_samples=attempts,
            attack_success=float(scores.successes.sum() / attempts)
            if scores.successes is not None and attempts
            else None,
        )


def record_round(
    tables: Tables,
    plan: RoundPlan,
    participation: Participation,
    outcome: Outcome,
    results: Mapping[Channel, AggregationResult],
    counts: EngineCounts,
    *,
    absent_samples: np.ndarray,
    norm: float,
    seconds: float,
    attacked: bool,
    diverged: bool,
    timed: Timed | None = None,
    tampered: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Append a round to all tables but evaluations; returns its row of ``rounds``. ``results``: of client portions and
    of server replicas, where they met. ``absent_samples``: of those who never trained. ``tampered``: rows of attacks on
    messages."""
    sampled, dropped = participation.reporting, participation.dropped
    records = [outcome.records.get(position, ClientRecord()) for position in range(plan.reporting)]
    seen = np.array([record.samples_seen for record in records], dtype=np.int64)
    loss = np.array([record.loss for record in records])
    correct = np.array([record.correct for record in records], dtype=np.int64)
    total = int(seen.sum())
    row: dict[str, Any] = {
        "round": plan.round,
        "train_loss": float(loss.sum() / total) if records else None,
        "train_accuracy": float(correct.sum() / total) if records else None,
        "samples": int(plan.samples[: plan.reporting].sum()),
        "clients": len(sampled.clients),
        "dropped": len(dropped.clients),
        "malicious": int(sampled.malicious.sum()),
        "update_norm": norm,
        "wall_s": seconds,
        "virtual_s": None if timed is None else timed.round_s,
        "clients_per_s": len(sampled.clients) / seconds,
        "peak_memory_bytes": counts.peak_memory_bytes,
        "ray_calls": counts.ray_calls,
        "retries": counts.retries,
        "attacked": attacked,
        "diverged": diverged,
    }
    pooled = plan.reporting != len(sampled.malicious)
    norms = {
        _NORMS[channel]: result.update_norms for channel, result in results.items() if result.update_norms is not None
    }
    tables.clients.append_columns(
        {
            "round": np.full(len(records), plan.round, dtype=np.int32),
            "client": plan.clients[: plan.reporting],
            "malicious": np.zeros(len(records), dtype=bool) if pooled else sampled.malicious,
            "dropped": np.zeros(len(records), dtype=bool),
            "samples": plan.samples[: plan.reporting].astype(np.int32),
            "steps": np.array([record.steps for record in records], dtype=np.int32),
            "train_loss": loss / np.maximum(seen, 1),
            "train_accuracy": correct / np.maximum(seen, 1),
            **norms,
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
    if not pooled:
        tables.aggregation.append([result.aggregation for result in results.values()])
        tables.attacks.append([result.attack for result in results.values() if result.attack is not None])
    tables.attacks.append([*_poisonings(plan.round, outcome), *tampered])
    tables.channels.append(
        [
            {"round": plan.round, "channel": channel, "messages": m, "bytes": b + labels, "label_bytes": labels}
            for channel, (m, b, labels) in sorted(outcome.traffic.items())
        ]
    )
    if outcome.detected:
        tables.detection.append(_detection_row(plan, participation, outcome))
    if timed is not None:
        tables.times.append(timed.rows)
    tables.rounds.append(row)  # last: whoever sees a round there finds it in all tables
    return row


def _poisonings(round: int, outcome: Outcome) -> list[dict[str, Any]]:
    """A row of the attacks table for each attack on data that was carried out."""
    found: dict[str, Poisoning] = {}
    for position in sorted(outcome.records):
        for name, done in outcome.records[position].poisoned.items():
            found[name] = done.plus(found.get(name, Poisoning(0, 0, 0.0)))
    return [
        {
            "round": round,
            "attack": name,
            "m": done.clients,
            "poisoned": done.samples,
            "seconds": done.seconds,
            "knowledge": "partial",
        }
        for name, done in sorted(found.items())
    ]


def _detection_row(plan: RoundPlan, participation: Participation, outcome: Outcome) -> dict[str, Any]:
    """What detectors found, joined with who is malicious, which they are never told."""
    malicious = np.concatenate([participation.reporting.malicious, participation.lost.malicious])
    found = [(bool(malicious[position]), detected) for position, detected in outcome.detected.items()]
    return {
        "round": plan.round,
        "visits": sum(detected.split_steps for _, detected in found),
        "malicious_visits": sum(detected.split_steps for malicious, detected in found if malicious),
        "rejected_malicious": sum(detected.rejected for malicious, detected in found if malicious),
        "rejected_honest": sum(detected.rejected for malicious, detected in found if not malicious),
        "turns": sum(detected.local_rounds for _, detected in found),
        "malicious_turns": sum(detected.local_rounds for malicious, detected in found if malicious),
        "rollbacks_malicious": sum(detected.undone > 0 for malicious, detected in found if malicious),
        "rollbacks_honest": sum(detected.undone > 0 for malicious, detected in found if not malicious),
        "undone_besides": sum(max(detected.undone - 1, 0) for _, detected in found),
    }


def record_evaluation(tables: Tables, round: int, evaluated: Evaluated, diverged: bool) -> None:
    """Append an evaluation, over all clients and client by client."""
    tables.evaluations.append(
        {
            "round": round,
            "split": "test",
            "clients": evaluated.clients,
            "samples": evaluated.samples,
            "loss": evaluated.loss,
            "accuracy": evaluated.accuracy,
            **{f"client_accuracy_{name}": value for name, value in vars(evaluated.spread).items() if name != "clients"},
            "attack_samples": evaluated.attack_samples,
            "attack_success": evaluated.attack_success,
            "diverged": diverged,
        }
    )
    scores = evaluated.scores
    evaluated_here = scores.samples > 0
    tables.client_evaluations.append_columns(
        {
            "round": np.full(int(evaluated_here.sum()), round, dtype=np.int32),
            "split": ["test"] * int(evaluated_here.sum()),
            "client": scores.clients[evaluated_here],
            "samples": scores.samples[evaluated_here],
            "correct": scores.correct[evaluated_here],
            "loss": scores.loss[evaluated_here] / scores.samples[evaluated_here],
        }
    )
