"""From a round's results to rows of its tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from raysplit.channels.channel import Channel
from raysplit.population.population import Population
from raysplit.population.selection.cohort import Participation
from raysplit.protocols.outcome import ClientRecord, Outcome, Poisoning
from raysplit.protocols.plan import RoundPlan
from raysplit.simulation.evaluation import Evaluated
from raysplit.simulation.privacy import PrivacySpent
from raysplit.simulation.round import PlayedRound
from raysplit.storage.tables import Tables

_NORMS = {Channel.UPDATES: "update_norm", Channel.SERVER_UPDATES: "server_update_norm"}
"""Columns of ``clients``."""


def record_round(tables: Tables, played: PlayedRound, population: Population) -> dict[str, Any]:
    """Append a round to all tables; returns its row of ``rounds``."""
    if played.evaluated is not None:
        record_evaluation(tables, played.plan.round, played.evaluated, played.diverged)
    _record_clients(tables, played, population)
    if not _one_party(played):
        tables.aggregation.append([result.aggregation for result in played.results.values()])
        tables.attacks.append([result.attack for result in played.results.values() if result.attack is not None])
    tables.attacks.append([*_poisonings(played.plan.round, played.outcome), *played.tampered])
    tables.channels.append(
        [
            {
                "round": played.plan.round,
                "channel": channel,
                "messages": messages,
                "bytes": payload + labels,
                "label_bytes": labels,
            }
            for channel, (messages, payload, labels) in sorted(played.outcome.traffic.items())
        ]
    )
    if played.outcome.detected:
        tables.detection.append(_detection_row(played.plan, played.participation, played.outcome))
    tables.client_scores.append(
        [{"round": played.plan.round, **score._asdict()} for _, score in sorted(played.outcome.client_scores.items())]
    )
    if played.timed is not None:
        tables.times.append(played.timed.rows)
    if played.privacy is not None:
        tables.privacy.append_columns(_privacy_columns(played.plan.round, played.privacy))
    row = _round_row(played)
    tables.rounds.append(row)  # last: whoever sees a round there finds it in all tables
    return row


def _one_party(played: PlayedRound) -> bool:
    """Whether one party trained on the data of all who report."""
    return played.plan.reporting != len(played.participation.reporting.malicious)


def _round_row(played: PlayedRound) -> dict[str, Any]:
    plan, counts, sampled = played.plan, played.counts, played.participation.reporting
    records = [played.outcome.records.get(position, ClientRecord()) for position in range(plan.reporting)]
    loss = np.array([record.loss for record in records])
    total = sum(record.samples_seen for record in records)
    return {
        "round": plan.round,
        "train_loss": float(loss.sum() / total) if total else None,
        "train_accuracy": float(sum(record.correct for record in records) / total) if total else None,
        "samples": int(plan.samples[: plan.reporting].sum()),
        "clients": len(sampled.clients),
        "dropped": len(played.participation.dropped.clients),
        "malicious": int(sampled.malicious.sum()),
        "update_norm": float(played.moved.norm()),
        "wall_s": played.seconds,
        "virtual_s": None if played.timed is None else played.timed.round_s,
        "clients_per_s": len(sampled.clients) / played.seconds,
        "peak_memory_bytes": counts.peak_memory_bytes,
        "ray_calls": counts.ray_calls,
        "retries": counts.retries,
        "attacked": played.attacked,
        "diverged": played.diverged,
    }


def _record_clients(tables: Tables, played: PlayedRound, population: Population) -> None:
    """A row for every client that reports, and for every one that was sampled and does not."""
    plan, records = played.plan, played.outcome.records
    reporting, dropped = played.participation.reporting, played.participation.dropped
    reported = [records.get(position, ClientRecord()) for position in range(plan.reporting)]
    seen = np.maximum(np.array([record.samples_seen for record in reported], dtype=np.int64), 1)
    norms = {
        _NORMS[channel]: result.update_norms
        for channel, result in played.results.items()
        if result.update_norms is not None
    }
    tables.clients.append_columns(
        {
            "round": np.full(len(reported), plan.round, dtype=np.int32),
            "client": plan.clients[: plan.reporting],
            "malicious": np.zeros(len(reported), dtype=bool) if _one_party(played) else reporting.malicious,
            "dropped": np.zeros(len(reported), dtype=bool),
            "samples": plan.samples[: plan.reporting].astype(np.int32),
            "steps": np.array([record.steps for record in reported], dtype=np.int32),
            "train_loss": np.array([record.loss for record in reported]) / seen,
            "train_accuracy": np.array([record.correct for record in reported], dtype=np.int64) / seen,
            **norms,
        }
    )
    absent = population.train_sizes(played.participation.absent.clients)
    lost = [records[position].steps for position in range(plan.reporting, len(plan.clients))]
    tables.clients.append_columns(
        {
            "round": np.full(len(dropped.clients), plan.round, dtype=np.int32),
            "client": dropped.clients,
            "malicious": dropped.malicious,
            "dropped": np.ones(len(dropped.clients), dtype=bool),
            "samples": np.concatenate([plan.samples[plan.reporting :], absent]).astype(np.int32),
            "steps": np.array([*lost, *[0] * len(absent)], dtype=np.int32),
        }
    )


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


def _privacy_columns(round: int, spent: PrivacySpent) -> dict[str, Any]:
    """A row for every client that trained."""
    ledger, count = spent.ledger, len(spent.clients)
    nominal = [found.epsilon for found in spent.epsilons]
    said = {
        "delta": ledger.delta,
        "unit": ledger.unit,
        "neighbours": ledger.neighbours,
        "sampling": ledger.sampling,
        "covers": ledger.covered,
        "adversary": ledger.adversary,
        "accountant": "RDP, whole orders",
    }
    return {
        "round": np.full(count, round, dtype=np.int32),
        "client": spent.clients,
        "applications": spent.applications,
        "epsilon": nominal if spent.claimed else [None] * count,
        "nominal_epsilon": nominal,
        "order": [found.order for found in spent.epsilons],
        **{name: [value] * count for name, value in said.items()},
    }


def _detection_row(plan: RoundPlan, participation: Participation, outcome: Outcome) -> dict[str, Any]:
    """What detectors found, joined with who is malicious, which they never learn."""
    malicious = np.concatenate([participation.reporting.malicious, participation.lost.malicious])
    found = [(bool(malicious[position]), detected) for position, detected in outcome.detected.items()]
    return {
        "round": plan.round,
        "split_steps": sum(detected.split_steps for _, detected in found),
        "malicious_split_steps": sum(detected.split_steps for malicious, detected in found if malicious),
        "rejected_malicious": sum(detected.rejected for malicious, detected in found if malicious),
        "rejected_honest": sum(detected.rejected for malicious, detected in found if not malicious),
        "local_rounds": sum(detected.local_rounds for _, detected in found),
        "malicious_local_rounds": sum(detected.local_rounds for malicious, detected in found if malicious),
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
            "balanced_accuracy": evaluated.balanced_accuracy,
            "macro_f1": evaluated.macro_f1,
            "class_samples": evaluated.by_class.samples.tolist(),
            "class_accuracy": evaluated.by_class.accuracy,
            "class_predicted": evaluated.by_class.predicted.tolist(),
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
