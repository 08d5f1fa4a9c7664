"""What came back from a round, or from one host's share of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import torch

from raysplit.channels.hooks import Observation
from raysplit.channels.traffic import NOTHING, Count, Traffic, added
from raysplit.memory.memory import Memory
from raysplit.protocols.class_counts import ClassCounts


class Poisoning(NamedTuple):
    """What an attack did to the data of ``clients``: ``samples`` of theirs changed, in ``seconds``."""

    clients: int
    samples: int
    seconds: float

    def plus(self, other: Poisoning) -> Poisoning:
        return Poisoning(self.clients + other.clients, self.samples + other.samples, self.seconds + other.seconds)


@dataclass
class ClientRecord:
    """What a client did in a round, for the metrics. ``loss`` is the sum over its steps of batch loss × batch size.

    ``poisoned``: what attacks on its data changed, by the attack's name."""

    samples_seen: int = 0
    steps: int = 0
    loss: float = 0.0
    correct: int = 0
    poisoned: dict[str, Poisoning] = field(default_factory=dict)

    def add(self, loss: float, correct: int, batch: int) -> None:
        self.samples_seen += batch
        self.steps += 1
        self.loss += loss * batch
        self.correct += correct


@dataclass
class DetectionRecord:
    """What detection made of a client in a round: its split steps and those rejected, and, where local rounds are
    judged, how many of its own were (0 or 1) and how many were taken back after it, that one included."""

    split_steps: int = 0
    rejected: int = 0
    local_rounds: int = 0
    undone: int = 0


class ClientScore(NamedTuple):
    """What a detector at ``client`` said of one split step. ``batch``: how many it had taken, over all rounds, that one
    included. ``mean``: of the last scores, as many as the detector looks at; None while there are fewer."""

    client: int
    detector: str
    step: int
    batch: int
    score: float
    mean: float | None
    attack: bool


@dataclass(frozen=True)
class ClientScores:
    """Evaluation of the global model, a row a client: ``loss`` (sum over samples, nats), ``correct``, ``samples``.

    ``by_class``: of all these clients together. ``attempts``: samples with which the success of an attack was measured
    there, ``successes``: those that were classified as it wants; None: there is no attack with a goal."""

    clients: np.ndarray
    loss: np.ndarray
    correct: np.ndarray
    samples: np.ndarray
    by_class: ClassCounts
    attempts: np.ndarray | None = None
    successes: np.ndarray | None = None

    @staticmethod
    def joined(parts: Sequence[ClientScores]) -> ClientScores:
        """The scores of several sets of clients, one after another."""
        joined = ClientScores(
            np.concatenate([part.clients for part in parts]),
            np.concatenate([part.loss for part in parts]),
            np.concatenate([part.correct for part in parts]),
            np.concatenate([part.samples for part in parts]),
            reduce(ClassCounts.plus, [part.by_class for part in parts]),
        )
        tried = [(part.attempts, part.successes) for part in parts if part.attempts is not None]
        if not tried:
            return joined
        return replace(
            joined, attempts=np.concatenate([a for a, _ in tried]), successes=np.concatenate([s for _, s in tried])
        )


@dataclass
class Outcome:
    """Client and server portions come as ``sums`` (group → [d]) or ``rows`` (position → [d]) where they are averaged,
    or as the one final ``vector`` (hand-over, shared server).

    ``memory``: what clients and main server will find in the next round. ``traffic``: channel → messages, bytes, label
    bytes. ``tests``: position → scores of a client tested while the round trains (docs/as-published.md).
    ``hook_records``: what message hooks did, by kind. ``observations``: what they noted; never part of the state.
    """

    client_sums: dict[int, torch.Tensor] = field(default_factory=dict)
    client_rows: dict[int, torch.Tensor] = field(default_factory=dict)
    client_vector: torch.Tensor | None = None
    server_sums: dict[int, torch.Tensor] = field(default_factory=dict)
    server_rows: dict[int, torch.Tensor] = field(default_factory=dict)
    server_vector: torch.Tensor | None = None
    memory: Memory = field(default_factory=dict)
    records: dict[int, ClientRecord] = field(default_factory=dict)
    traffic: dict[str, Count] = field(default_factory=dict)
    tests: dict[int, ClientScores] = field(default_factory=dict)
    hook_records: dict[str, dict[Any, Any]] = field(default_factory=dict)
    observations: list[Observation] = field(default_factory=list)

    @property
    def tampered(self) -> dict[tuple[int, int], Any]:
        """(number of an attack on messages in force, client id) → what it did."""
        return self.hook_records.get("tampered", {})

    @property
    def detected(self) -> dict[int, DetectionRecord]:
        """Position → what detection made of that client."""
        return self.hook_records.get("detected", {})

    @property
    def client_scores(self) -> dict[tuple[int, int, int], ClientScore]:
        """(position, step, number of the detector) → what a detector at that client said."""
        return self.hook_records.get("client_scores", {})

    def crossed(self, traffic: Traffic) -> None:
        """Count what has crossed in this process."""
        for channel, counts in traffic.counts.items():
            self.traffic[channel.value] = added(self.traffic.get(channel.value, NOTHING), counts)

    def merge(self, other: Outcome) -> None:
        """Take in another host's share."""
        self.client_sums.update(other.client_sums)
        self.client_rows.update(other.client_rows)
        self.server_sums.update(other.server_sums)
        self.server_rows.update(other.server_rows)
        self.memory.update(other.memory)
        self.records.update(other.records)
        self.tests.update(other.tests)
        for kind, records in other.hook_records.items():
            self.hook_records.setdefault(kind, {}).update(records)
        self.observations.extend(other.observations)
        self.client_vector = other.client_vector if other.client_vector is not None else self.client_vector
        self.server_vector = other.server_vector if other.server_vector is not None else self.server_vector
        for channel, counts in other.traffic.items():
            self.traffic[channel] = added(self.traffic.get(channel, NOTHING), counts)
