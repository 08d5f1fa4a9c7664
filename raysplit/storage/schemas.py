"""The columns of a run's tables, with their units: what a round leaves behind (docs/design.md, section 7).

A field's metadata holds ``unit``, ``description`` and, on columns that depend on the clock, the machine or its failures
rather than on the scenario, ``deterministic: false``. Two runs of one scenario are equal on all other columns.
"""

from __future__ import annotations

import pyarrow as pa

FORMAT = 2
"""Version of the tables' layout, in every schema's metadata; readers refuse newer ones and know older ones' names."""
RENAMED_SINCE_1: dict[str, dict[str, str]] = {
    "aggregation": {"declared": "assumed", "realised": "actual"},
    "detection": {
        "visits": "split_steps",
        "malicious_visits": "malicious_split_steps",
        "turns": "local_rounds",
        "malicious_turns": "malicious_local_rounds",
    },
}
"""Table → columns that format 1 named otherwise: old name → name."""


def deterministic_columns(schema: pa.Schema) -> list[str]:
    """The columns on which two runs of one scenario must agree bit for bit."""
    return [field.name for field in schema if (field.metadata or {}).get(b"deterministic") != b"false"]


def _column(
    name: str,
    kind: pa.DataType,
    unit: str,
    description: str,
    *,
    nullable: bool = False,
    deterministic: bool = True,
) -> pa.Field:
    metadata = {"unit": unit, "description": description}
    if not deterministic:
        metadata["deterministic"] = "false"
    return pa.field(name, kind, nullable=nullable, metadata=metadata)


def _table(name: str, *columns: pa.Field) -> pa.Schema:
    metadata = {"raysplit.table": name, "raysplit.format": str(FORMAT)}
    return pa.schema([_column("round", pa.int32(), "round", "1-based round"), *columns], metadata=metadata)


_SECONDS = _column("seconds", pa.float64(), "s", "wall-clock time of this step", deterministic=False)

ROUNDS = _table(
    "rounds",
    _column("train_loss", pa.float64(), "nat", "cross-entropy, sample-weighted; none if nobody trained", nullable=True),
    _column("train_accuracy", pa.float64(), "fraction", "sample-weighted; none if nobody trained", nullable=True),
    _column("samples", pa.int64(), "sample", "training samples of the clients that reported"),
    _column("clients", pa.int32(), "client", "clients that reported; 0: the round was passed over"),
    _column("dropped", pa.int32(), "client", "clients that were drawn and did not report", nullable=True),
    _column("malicious", pa.int32(), "client", "malicious clients among those that reported"),
    _column(
        "update_norm",
        pa.float64(),
        "1",
        "Euclidean norm of the aggregated client-portion update (of the mean update, where clients keep theirs)",
    ),
    _column("wall_s", pa.float64(), "s", "wall-clock time of the round", deterministic=False),
    _column("virtual_s", pa.float64(), "s", "the round's time on the scenario's devices, simulated", nullable=True),
    _column("clients_per_s", pa.float64(), "client/s", "clients trained a second of the round", deterministic=False),
    _column("peak_memory_bytes", pa.int64(), "B", "largest resident memory of any process so far", deterministic=False),
    _column("ray_calls", pa.int32(), "call", "remote calls of the round", deterministic=False),
    _column("retries", pa.int32(), "call", "calls repeated after a lost host", deterministic=False),
    _column("attacked", pa.bool_(), "bool", "whether malicious clients lied in this round"),
    _column("diverged", pa.bool_(), "bool", "whether loss or weights stopped being finite"),
)

CLIENTS = _table(
    "clients",
    _column("client", pa.int64(), "id", "client id in the population"),
    _column("malicious", pa.bool_(), "bool", "whether the adversary holds this client"),
    _column("dropped", pa.bool_(), "bool", "whether it was drawn and did not report", nullable=True),
    _column("samples", pa.int32(), "sample", "training samples of this client"),
    _column("steps", pa.int32(), "step", "optimiser steps in this round"),
    _column("train_loss", pa.float64(), "nat", "cross-entropy, mean over the round's samples", nullable=True),
    _column("train_accuracy", pa.float64(), "fraction", "mean over the round's samples", nullable=True),
    _column("update_norm", pa.float64(), "1", "Euclidean norm of the update as sent", nullable=True),
    _column("server_update_norm", pa.float64(), "1", "that of its server replica's update", nullable=True),
)

AGGREGATION = _table(
    "aggregation",
    _column("portion", pa.string(), "name", "client or server portion"),
    _column("rule", pa.string(), "name", "aggregation rule"),
    _column("n", pa.int32(), "update", "updates received"),
    _column("d", pa.int64(), "float", "length of an update"),
    _column("assumed", pa.int32(), "client", "malicious clients that the operator expects in this cohort"),
    _column("actual", pa.int32(), "client", "malicious clients in this cohort, the truth"),
    _column("trim", pa.int32(), "update", "updates cut from each side", nullable=True),
    _column("broken", pa.bool_(), "bool", "whether more rows are malicious than the rule can bear"),
    _column("rejected_share", pa.float64(), "fraction", "share of the received updates left out", nullable=True),
    _column("selected_malicious", pa.int32(), "update", "malicious updates that took part", nullable=True),
    _column("bias", pa.float64(), "1", "Euclidean norm of (aggregate - benign mean)", nullable=True),
    _column("relative_bias", pa.float64(), "1", "bias over the norm of the benign mean", nullable=True),
    _column("cosine", pa.float64(), "1", "cosine between aggregate and benign mean", nullable=True),
    _SECONDS,
    _column(
        "non_finite",
        pa.int32(),
        "update",
        "received updates that hold NaN or infinity; none where portions were summed as they came",
        nullable=True,
    ),
    _column(
        "bound",
        pa.float64(),
        "1",
        "length that the rule went by, to which it clipped updates or the model",
        nullable=True,
    ),
    _column("clipped", pa.int32(), "update", "updates that were longer", nullable=True),
    _column("saturated", pa.int64(), "float", "numbers too large for secure aggregation, cut off", nullable=True),
)

ATTACKS = _table(
    "attacks",
    _column("attack", pa.string(), "name", "attack"),
    _column("channel", pa.string(), "name", "channel on which they lied", nullable=True),
    _column("m", pa.int32(), "client", "malicious clients that lied; 0: the main server did"),
    _column("poisoned", pa.int64(), "sample", "training samples of theirs that were changed", nullable=True),
    _column("gamma", pa.float64(), "1", "length along the perturbation", nullable=True),
    _column("objective", pa.float64(), "1", "norm that the attack maximises, as reached", nullable=True),
    _column("certificate", pa.float64(), "1", "upper bound of the objective", nullable=True),
    _column("messages", pa.int64(), "message", "messages that it changed", nullable=True),
    _column("relative_change", pa.float64(), "1", "mean of |z' - z| / |z| over those messages", nullable=True),
    _column("relabelled", pa.float64(), "fraction", "labels changed, of those that travelled with them", nullable=True),
    _SECONDS,
    _column("knowledge", pa.string(), "name", "full: all benign messages; partial: the adversary's own clients'"),
)

CHANNELS = _table(
    "channels",
    _column("channel", pa.string(), "name", "channel of docs/design.md, section 1"),
    _column("messages", pa.int64(), "message", "messages that crossed it"),
    _column("bytes", pa.int64(), "B", "payload of those messages, labels included"),
    _column("label_bytes", pa.int64(), "B", "labels among those bytes"),
)

EVALUATIONS = _table(
    "evaluations",
    _column("split", pa.string(), "name", "test"),
    _column("clients", pa.int32(), "client", "clients evaluated"),
    _column("samples", pa.int64(), "sample", "samples evaluated"),
    _column("loss", pa.float64(), "nat", "cross-entropy, sample-weighted"),
    _column("accuracy", pa.float64(), "fraction", "sample-weighted"),
    _column(
        "balanced_accuracy",
        pa.float64(),
        "fraction",
        "mean of class_accuracy over classes with a sample",
        nullable=True,
    ),
    _column("macro_f1", pa.float64(), "fraction", "mean F1 over classes with a sample or a prediction", nullable=True),
    _column(
        "class_samples", pa.list_(pa.int64()), "sample", "samples of each class that were evaluated", nullable=True
    ),
    _column(
        "class_accuracy",
        pa.list_(pa.float64()),
        "fraction",
        "of those of each class, classified rightly (its recall); none for a class without a sample",
        nullable=True,
    ),
    _column(
        "class_predicted",
        pa.list_(pa.int64()),
        "sample",
        "samples of any class that were classified as each class",
        nullable=True,
    ),
    _column("client_accuracy_mean", pa.float64(), "fraction", "mean over clients", nullable=True),
    _column("client_accuracy_sd", pa.float64(), "fraction", "standard deviation over clients", nullable=True),
    _column("client_accuracy_cv", pa.float64(), "%", "100 sd / mean over clients", nullable=True),
    *[
        _column(f"client_accuracy_p{p}", pa.float64(), "fraction", f"{p}th percentile over clients", nullable=True)
        for p in (10, 25, 50, 75, 90)
    ],
    _column(
        "client_accuracy_worst_decile", pa.float64(), "fraction", "mean of the worst tenth of clients", nullable=True
    ),
    _column(
        "attack_samples",
        pa.int64(),
        "sample",
        "samples with which the attack tried its luck, if any does",
        nullable=True,
    ),
    _column("attack_success", pa.float64(), "fraction", "of those, classified as the attack wants", nullable=True),
    _column("diverged", pa.bool_(), "bool", "whether the loss stopped being finite"),
)

CLIENT_EVALUATIONS = _table(
    "client_evaluations",
    _column("split", pa.string(), "name", "test"),
    _column("client", pa.int64(), "id", "client id in the population"),
    _column("samples", pa.int32(), "sample", "samples of this client that were evaluated"),
    _column("correct", pa.int32(), "sample", "those classified rightly"),
    _column("loss", pa.float64(), "nat", "cross-entropy, mean over its samples", nullable=True),
)

TIMES = _table(
    "times",
    _column("client", pa.int64(), "id", "client id in the population"),
    _column("device", pa.string(), "name", "kind of machine"),
    _column("down_s", pa.float64(), "s", "virtual time receiving"),
    _column("compute_s", pa.float64(), "s", "virtual time computing"),
    _column("wait_s", pa.float64(), "s", "virtual time waiting for its turn and for the server"),
    _column("up_s", pa.float64(), "s", "virtual time sending"),
    _column("finish_s", pa.float64(), "s", "virtual time from the round's start to its last message's arrival"),
    _column(
        "left_out",
        pa.string(),
        "name",
        "straggler policy that left it out (its times are then those it would have needed alone)",
        nullable=True,
    ),
)

DETECTION = _table(
    "detection",
    _column(
        "split_steps", pa.int32(), "split step", "split steps of clients that detectors at the main server could judge"
    ),
    _column("malicious_split_steps", pa.int32(), "split step", "those of clients that the adversary holds"),
    _column("rejected_malicious", pa.int32(), "split step", "rejected ones of such clients: true positives"),
    _column("rejected_honest", pa.int32(), "split step", "rejected ones of all other clients: false positives"),
    _column("local_rounds", pa.int32(), "local round", "local rounds of clients that a rollback judged; 0 without one"),
    _column("malicious_local_rounds", pa.int32(), "local round", "those of clients that the adversary holds"),
    _column("rollbacks_malicious", pa.int32(), "local round", "of such clients, taken back: true positives"),
    _column("rollbacks_honest", pa.int32(), "local round", "of all other clients, taken back: false positives"),
    _column(
        "undone_besides", pa.int32(), "local round", "earlier ones, first let stand, that were taken back with them"
    ),
)

CLIENT_SCORES = _table(
    "client_scores",
    _column("client", pa.int64(), "id", "client id in the population"),
    _column("detector", pa.string(), "name", "detector at the client that judges the main server"),
    _column("step", pa.int32(), "step", "split step of the client's local round, from 0"),
    _column("batch", pa.int64(), "batch", "split steps that the client has taken in all rounds, this one included"),
    _column("score", pa.float64(), "1", "of this split step: near 1 where the server trains on the client's task"),
    _column(
        "mean",
        pa.float64(),
        "1",
        "mean of the client's last scores, as many as the detector looks at; none while there are fewer",
        nullable=True,
    ),
    _column("attack", pa.bool_(), "bool", "whether the mean lies below the detector's threshold"),
)

PRIVACY = _table(
    "privacy",
    _column("client", pa.int64(), "id", "client id in the population that trained in this round"),
    _column(
        "applications",
        pa.int64(),
        "application",
        "of the noisy mechanism to each of its samples, or to all of it, up to here",
    ),
    _column("epsilon", pa.float64(), "1", "ε that is claimed up to here; none: nothing is claimed", nullable=True),
    _column("nominal_epsilon", pa.float64(), "1", "what the accountant gives for the noise, claimed or not"),
    _column("order", pa.int32(), "1", "order of Rényi divergence that gave ε"),
    _column("delta", pa.float64(), "1", "δ at which ε holds"),
    _column("unit", pa.string(), "name", "what is protected: one training sample, or all of one client"),
    _column("neighbours", pa.string(), "name", "in what two data sets differ that ε cannot tell apart"),
    _column("sampling", pa.string(), "name", "how batches, or cohorts, were drawn, as the accountant was told"),
    _column("covers", pa.string(), "name", "what carries the noise"),
    _column("adversary", pa.string(), "name", "against whom ε holds"),
    _column("accountant", pa.string(), "name", "how ε was computed"),
)

SCHEMAS: dict[str, pa.Schema] = {
    "rounds": ROUNDS,
    "clients": CLIENTS,
    "aggregation": AGGREGATION,
    "attacks": ATTACKS,
    "channels": CHANNELS,
    "evaluations": EVALUATIONS,
    "client_evaluations": CLIENT_EVALUATIONS,
    "times": TIMES,
    "detection": DETECTION,
    "client_scores": CLIENT_SCORES,
    "privacy": PRIVACY,
}
"""Schema of each table; ``metrics/<name>.arrow`` in a run folder."""

LATER = ("client_evaluations", "times", "detection", "client_scores", "privacy")
"""Tables that runs of earlier versions do not have."""
