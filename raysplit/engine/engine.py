"""What an engine is: it plays rounds and evaluations. *What* is computed never depends on *which* engine plays it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from raysplit.aggregation.fed_server import AggregationResult
from raysplit.aggregation.task import AggregationTask
from raysplit.memory.global_state import GlobalState
from raysplit.protocols.outcome import ClientScores, Outcome
from raysplit.protocols.plan import RoundPlan


@dataclass(frozen=True)
class EngineCounts:
    """What a round cost the engine: Ray calls (0 locally), retries after a lost actor, and peak memory in bytes."""

    ray_calls: int
    retries: int
    peak_memory_bytes: int


class Engine(Protocol):
    """Opened for one scenario; a context manager, so that nothing outlives the run."""

    def describe(self) -> dict[str, str | int | float]:
        """How it is laid out, for the record and the log."""
        ...

    @property
    def shards(self) -> int:
        """In how many column shards updates are aggregated; 1: they come back as rows."""
        ...

    def train(self, plan: RoundPlan, start: GlobalState) -> Outcome:
        """``start``: the state with which the round begins, with the memory of its clients and of the main server."""
        ...

    def train_sharded(
        self, plan: RoundPlan, start: GlobalState, task: AggregationTask
    ) -> tuple[Outcome, AggregationResult]:
        """``train`` with column shards (``shards`` > 1), which aggregate the round's client portions by ``task``; these
        do not come back."""
        ...

    def evaluate(
        self,
        clients: np.ndarray,
        client: torch.Tensor,
        server: torch.Tensor,
        portions: dict[int, torch.Tensor] | None = None,
    ) -> ClientScores:
        """The model on the test sets of ``clients``. ``portions``: client portions of their own, by client id; who has
        none is evaluated with ``client``. None: nobody has one, and batches ignore client boundaries."""
        ...

    def counts(self) -> EngineCounts:
        """Since the last call."""
        ...

    def close(self) -> None: ...
