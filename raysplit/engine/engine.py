"""What an engine is: it plays rounds and evaluations. *What* is computed never depends on *which* engine plays it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch

from raysplit.aggregation.sharding.task import AggregationTask
from raysplit.protocols.plan import Outcome, RoundPlan
from raysplit.training.optimizers import State


@dataclass(frozen=True)
class RoundStart:
    """The state with which a round begins. ``server`` is empty (0 floats) where the model is not cut.

    ``client_portions``: where clients keep portions of their own, those of this round's clients that have trained
    before.
    """

    client: torch.Tensor
    server: torch.Tensor
    server_state: State | None
    client_states: dict[int, State]
    client_portions: dict[int, torch.Tensor] = field(default_factory=dict)
    in_flight: dict[int, torch.Tensor] = field(default_factory=dict)
    """client id → portion [d] of those whose turn began in an earlier round"""
    in_flight_states: dict[int, State] = field(default_factory=dict)
    protocol_state: dict[str, torch.Tensor] = field(default_factory=dict)
    """what server replicas that outlive a round go on from"""
    detection: State | None = None
    """what detectors at the main server remember; None: nobody is watched, as in the training of a rule's root
    clients"""


@dataclass(frozen=True)
class EngineCounts:
    """What a round cost the engine: Ray calls (0 locally), retries after a lost actor, and peak memory in bytes."""

    ray_calls: int
    retries: int
    peak_memory_bytes: int


@dataclass(frozen=True)
class ClientScores:
    """Evaluation of the global model, a row a client: ``loss`` (sum over samples, nats), ``correct``, ``samples``.

    ``attempts``: samples with which an attack tried its luck there, ``successes``: those that were classified as it
    wants; None: there is no attack with a goal."""

    clients: np.ndarray
    loss: np.ndarray
    correct: np.ndarray
    samples: np.ndarray
    attempts: np.ndarray | None = None
    successes: np.ndarray | None = None

    @staticmethod
    def joined(parts: Sequence[ClientScores]) -> ClientScores:
        """The scores of several sets of clients, one after another."""
        columns = ((part.clients, part.loss, part.correct, part.samples) for part in parts)
        joined = ClientScores(*(np.concatenate(column) for column in zip(*columns, strict=True)))
        tried = [(part.attempts, part.successes) for part in parts if part.attempts is not None]
        if not tried:
            return joined
        return replace(
            joined, attempts=np.concatenate([a for a, _ in tried]), successes=np.concatenate([s for _, s in tried])
        )


class Engine(Protocol):
    """Opened for one scenario; a context manager, so that nothing outlives the run."""

    def describe(self) -> dict[str, str | int | float]:
        """How it is laid out, for the record and the log."""
        ...

    @property
    def shards(self) -> int:
        """In how many column shards updates are aggregated; 1: they come back as rows."""
        ...

    def train(self, plan: RoundPlan, start: RoundStart, task: AggregationTask | None = None) -> Outcome:
        """``task``: what column shards must know to aggregate the round's updates, which then do not come back."""
        ...

    def evaluate(
        self,
        clients: np.ndarray,
        client: torch.Tensor,
        server: torch.Tensor,
        portions: dict[int, torch.Tensor] | None = None,
    ) -> ClientScores:
        """The model on the test sets of ``clients``. ``portions``: client portions of their own, by client id; who has
        none is judged with ``client``. None: nobody has one, and batches ignore client boundaries."""
        ...

    def counts(self) -> EngineCounts:
        """Since the last call."""
        ...

    def close(self) -> None: ...
