"""The local engine: one process, plain loops. The reference that every other engine must equal bit for bit."""

from __future__ import annotations

import numpy as np
import torch

from raysplit.aggregation.fed_server import AggregationResult
from raysplit.aggregation.sharding.shard import LocalShards
from raysplit.aggregation.sharding.sharded_columns import aggregate_sharded
from raysplit.aggregation.task import AggregationTask
from raysplit.channels.hooks import MessageHook, in_order
from raysplit.engine.engine import EngineCounts
from raysplit.engine.evaluator import evaluation_chunks
from raysplit.engine.host import Host, peak_memory_bytes
from raysplit.memory.global_state import GlobalState
from raysplit.protocols.outcome import ClientScores, Outcome
from raysplit.protocols.plan import RoundPlan
from raysplit.scenario.scenario import Scenario
from raysplit.training.gradient_rules import GradientRule
from raysplit.training.parties import ServerGradientRule
from raysplit.training.slot_pool import RowSink


class LocalEngine:
    """All client groups on one host in this process; errors surface where they happen, under a debugger if you like."""

    def __init__(
        self,
        scenario: Scenario,
        device: str = "cpu",
        hooks: tuple[MessageHook, ...] = (),
        shards: int = 1,
        gradient_rule: GradientRule | None = None,
        server_rule: ServerGradientRule | None = None,
    ) -> None:
        """``hooks``: beside the scenario's own. ``gradient_rule``, ``server_rule``: in place of the scenario's.
        ``shards``: aggregate in so many column shards, one after another; it saves nothing here, and shows that it
        changes nothing."""
        self.shards = shards
        self._shards = LocalShards(shards)
        self._threads = torch.get_num_threads()
        self._host = Host(scenario, device, hooks, gradient_rule, server_rule)

    def describe(self) -> dict[str, str | int | float]:
        return {
            "engine": "local",
            "hosts": 1,
            "placement": "colocated",
            "device": str(self._host.device),
            "shards": self.shards,
        }

    def train(self, plan: RoundPlan, start: GlobalState) -> Outcome:
        return self._play(plan, start)

    def train_sharded(
        self, plan: RoundPlan, start: GlobalState, task: AggregationTask
    ) -> tuple[Outcome, AggregationResult]:
        self._shards.prepare(task)
        outcome = self._play(plan, start, self._shards.put)
        return outcome, aggregate_sharded(task, self._shards)

    def _play(self, plan: RoundPlan, start: GlobalState, row_sink: RowSink | None = None) -> Outcome:
        outcome = self._host.train(plan, range(len(plan.groups)), start, row_sink)
        outcome.observations = in_order(outcome.observations)
        return outcome

    def evaluate(
        self,
        clients: np.ndarray,
        client: torch.Tensor,
        server: torch.Tensor,
        portions: dict[int, torch.Tensor] | None = None,
    ) -> ClientScores:
        chunks = evaluation_chunks(clients)
        return ClientScores.joined([self._host.evaluate(chunk, client, server, portions) for chunk in chunks])

    def counts(self) -> EngineCounts:
        return EngineCounts(ray_calls=0, retries=0, peak_memory_bytes=peak_memory_bytes())

    def close(self) -> None:
        self._shards.cancel()
        torch.set_num_threads(self._threads)

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
