"""The Ray engine: client hosts and a server pool as actors; O(hosts) calls a round; lost actors are replaced and
replayed.

Actors keep nothing that matters between rounds, so a round that lost one is played again from its start and gives the
same bits.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import ray
import torch

from raysplit.aggregation.fed_server import AggregationResult
from raysplit.aggregation.sharding.shard_tasks import row_bounds, shard_tasks
from raysplit.aggregation.sharding.sharded_columns import aggregate_sharded
from raysplit.aggregation.task import AggregationTask
from raysplit.channels.hooks import MessageHook, in_order
from raysplit.engine.engine import EngineCounts
from raysplit.engine.evaluator import evaluation_chunks
from raysplit.engine.host import peak_memory_bytes
from raysplit.engine.placement import Layout
from raysplit.engine.ray.actor_pool import PATIENCE_S, ActorPool
from raysplit.engine.ray.actors import Packed, to_arrays, to_tensors
from raysplit.engine.ray.calls import Call, Calls
from raysplit.engine.ray.deadlines import Deadlines
from raysplit.engine.ray.handshake import TOKEN_BYTES
from raysplit.engine.ray.node_data import NodeData
from raysplit.engine.ray.replay import replayed
from raysplit.engine.ray.row_wire import RowSinkAddress
from raysplit.engine.ray.shard_actor import RayShards
from raysplit.engine.ray.staff import Place, Staff
from raysplit.memory.global_state import GlobalState
from raysplit.memory.memory import copied, of_clients, of_scope
from raysplit.protocols.outcome import ClientScores, Outcome
from raysplit.protocols.plan import RoundPlan
from raysplit.scenario.scenario import Scenario
from raysplit.training.gradient_rules import GradientRule

AHEAD = 3
"""Steps that a host keeps under way with a main server in another process; each holds one batch's activations."""


class RayEngine:
    """``connect`` (cluster.py) must have been called. One engine a scenario.

    Its actors come from ``actor_pool`` where that has some, and go back there; without one, closing the engine ends
    them.
    """

    def __init__(
        self,
        scenario: Scenario,
        layout: Layout,
        actor_pool: ActorPool | None = None,
        hooks: tuple[MessageHook, ...] = (),
        gradient_rule: GradientRule | None = None,
        deadline: float | None = None,
    ) -> None:
        """``hooks``, ``gradient_rule``: beside the scenario's own; they travel to the actors by value. ``deadline``: of
        every call [s], instead of one that is measured."""
        self._scenario = scenario
        self._layout = layout
        self._reference = ray.put(scenario)
        self._node_data = NodeData(scenario)
        self._hooks, self._gradient_rule = hooks, gradient_rule
        self._own_pool = actor_pool is None
        self._retries = self._peak = 0
        self._gathering = Calls(Deadlines(deadline))
        pool = ActorPool() if actor_pool is None else actor_pool
        self._staff = Staff(layout, pool, self._gathering.deadlines, self._take)
        try:
            self._node_data.complete()
            self._gathering.count += self._staff.start()
        except BaseException:
            self.close(broken=True)
            raise

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by actor (``host-0``, ``server-0``), for faults and for whoever watches."""
        return {f"{kind}-{index}": at.pid for (kind, index), at in self._staff.started.items()}

    def describe(self) -> dict[str, str | int | float]:
        layout = self._layout
        return {
            "engine": "ray",
            "hosts": layout.hosts,
            "servers": layout.servers,
            "placement": layout.placement,
            "gpus_per_host": layout.gpus_per_host,
            "shards": layout.shards,
        }

    @property
    def shards(self) -> int:
        return self._layout.shards

    def train(self, plan: RoundPlan, start: GlobalState) -> Outcome:
        return replayed(f"round {plan.round}", lambda: self._play(plan, start), self._mend)

    def train_sharded(
        self, plan: RoundPlan, start: GlobalState, task: AggregationTask
    ) -> tuple[Outcome, AggregationResult]:
        return replayed(f"round {plan.round}", lambda: self._sharded(plan, start, task), self._mend)

    def _mend(self) -> None:
        self._retries += 1
        self._node_data.complete()  # a replacement may start on a node that joined since
        self._gathering.count += self._staff.replace_lost()

    def evaluate(
        self,
        clients: np.ndarray,
        client: torch.Tensor,
        server: torch.Tensor,
        portions: dict[int, torch.Tensor] | None = None,
    ) -> ClientScores:
        """Chunks of clients dealt over the hosts in turn; a host gets the portions of its own chunks' clients."""
        chunks = evaluation_chunks(clients)
        count = min(len(self._hosts), len(chunks))

        def play() -> ClientScores:
            start = ray.put(to_arrays(GlobalState(0, client, server)))
            owned = [_own(portions, np.concatenate(chunks[h::count])) for h in range(count)]
            calls = [
                self._call("host", h, self._hosts[h].evaluate.remote(chunks[h::count], start, owned[h]))
                for h in range(count)
            ]
            scores: list[Any] = [None] * len(chunks)
            for h, part in enumerate(self._gathering.gather("evaluation", len(clients), calls)):
                scores[h::count] = part
            return ClientScores.joined(scores)

        return replayed("an evaluation", play, self._mend)

    def counts(self) -> EngineCounts:
        counts = EngineCounts(self._gathering.count, self._retries, max(self._peak, peak_memory_bytes()))
        self._gathering.count = self._retries = 0
        return counts

    def close(self, broken: bool = False, patience_s: float = PATIENCE_S) -> None:
        """Give the actors back; ``broken``: end them, as something may still be under way in them, and wait so long
        until they are gone."""
        self._staff.release(broken or self._own_pool, patience_s)

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        # After a Ctrl-C nobody waits for their room, and a batch system may be about to end this process, too.
        self.close(kind is not None, PATIENCE_S if kind is None or issubclass(kind, Exception) else 0)

    @property
    def _hosts(self) -> list[Any]:
        return self._staff.actors["host"]

    @property
    def _servers(self) -> list[Any]:
        return self._staff.actors["server"]

    @property
    def _shards(self) -> list[Any]:
        return self._staff.actors["shard"]

    def _take(self, place: Place, actor: Any) -> Any:
        """Give an actor the scenario."""
        kind, index = place
        if kind == "host":
            return actor.take.remote(self._reference, index, self._hooks, self._gradient_rule)
        if kind == "server":
            return actor.take.remote(self._reference, index, self._hooks)
        return actor.take.remote()

    def _call(self, kind: str, index: int, result: Any) -> Call:
        return Call(self._staff.member(kind, index), result)

    def _deal(self, plan: RoundPlan) -> list[list[int]]:
        """Groups to hosts, longest expected work first, each to the host with least."""
        load = np.zeros(len(self._hosts))
        dealt: list[list[int]] = [[] for _ in self._hosts]
        work = [float(plan.samples[list(group)].sum()) for group in plan.groups]
        for group in np.argsort(-np.array(work), kind="stable"):
            host = int(np.argmin(load))
            load[host] += work[group]
            dealt[host].append(int(group))
        return [sorted(groups) for groups in dealt]

    def _share(self, start: GlobalState) -> Any:
        """What every actor of a round begins with; what clients keep goes to their hosts alone."""
        return ray.put(to_arrays(replace(start, memory=of_scope(start.memory, "server"))))

    def _play(
        self, plan: RoundPlan, start: GlobalState, sink: RowSinkAddress | None = None, gathering: Iterable[Call] = ()
    ) -> Outcome:
        """A round on hosts and servers. ``sink``: where finished portions go, if not back; ``gathering``: calls that
        wait for these."""
        playing = self._pooled(plan, start, sink) if self._servers else self._colocated(plan, start, sink)
        work = float(plan.samples.sum())
        return self._merge(self._gathering.gather("round", work, [*gathering, *playing], self._staff.abort))

    def _sharded(self, plan: RoundPlan, start: GlobalState, task: AggregationTask) -> tuple[Outcome, AggregationResult]:
        """A round whose portions go from the hosts to the column shards, which aggregate them; the driver sees none
        of them."""
        count, token = len(self._shards), secrets.token_bytes(TOKEN_BYTES)
        bounds = row_bounds(len(task.portion), task.parameters, count)
        sink = RowSinkAddress(tuple(self._staff.address("shard", i) for i in range(count)), tuple(bounds), token)
        pieces = [ray.put(to_arrays(piece)) for piece in shard_tasks(task, count)]
        gathering = [
            self._call("shard", index, shard.gather.remote(piece, token))
            for index, (shard, piece) in enumerate(zip(self._shards, pieces, strict=True))
        ]
        outcome = self._play(plan, start, sink, gathering)
        return outcome, aggregate_sharded(task, RayShards(self._shards, self._answers))

    def _answers(self, calls: list[Any]) -> list[Any]:
        """What the shards, one call each, answer, as tensors."""
        named = [self._call("shard", index, call) for index, call in enumerate(calls)]
        answers = self._gathering.gather("aggregation", 1.0, named)
        self._peak = max(self._peak, *(packed.peak_memory_bytes for packed in answers))
        return [to_tensors(packed.outcome) for packed in answers]

    def _colocated(self, plan: RoundPlan, start: GlobalState, sink: RowSinkAddress | None) -> list[Call]:
        shared = self._share(start)
        shared_plan = ray.put(plan)
        calls = []
        for index, groups in enumerate(self._deal(plan)):
            if groups:
                own = _memory(start, _clients(plan, groups))
                call = self._hosts[index].train.remote(shared_plan, groups, shared, own, sink)
                calls.append(self._call("host", index, call))
        return calls

    def _pooled(self, plan: RoundPlan, start: GlobalState, sink: RowSinkAddress | None) -> list[Call]:
        begin, shared_plan = self._share(start), ray.put(plan)
        dealt = {host: groups for host, groups in enumerate(self._deal(plan)) if groups}
        pool = len(self._servers)
        ahead = 1 if self._scenario.protocol.client_sync == "handover" else AHEAD
        calls, token = [], secrets.token_bytes(TOKEN_BYTES)  # another one for every attempt
        for index, server in enumerate(self._servers):
            served = {host: groups for host, groups in dealt.items() if host % pool == index}
            if served:
                calls.append(self._call("server", index, server.serve.remote(shared_plan, begin, served, token, ahead)))
        for host, groups in dealt.items():
            address = self._staff.address("server", host % pool)
            own = _memory(start, _clients(plan, groups))
            train = self._hosts[host].train_pooled
            call = train.remote(shared_plan, groups, begin, own, address, token, ahead, sink)
            calls.append(self._call("host", host, call))
        return calls

    def _merge(self, parts: list[Packed]) -> Outcome:
        outcome = Outcome()
        for packed in parts:
            outcome.merge(to_tensors(packed.outcome))
            self._peak = max(self._peak, packed.peak_memory_bytes)
        # Kept for many rounds; views would hold this round's whole outcome in Ray's store.
        outcome.memory = copied(outcome.memory)
        outcome.observations = in_order(outcome.observations)
        return outcome


def _clients(plan: RoundPlan, groups: Sequence[int]) -> np.ndarray:
    """The ids of the clients in some groups."""
    return plan.clients[[position for group in groups for position in plan.groups[group]]]


def _memory(start: GlobalState, clients: np.ndarray) -> Any:
    """What some clients keep, packed."""
    return to_arrays(of_clients(start.memory, clients))


def _own(portions: dict[int, torch.Tensor] | None, clients: np.ndarray) -> Any:
    """Of the portions that clients keep, by client id, those of ``clients``, packed; None where clients keep none."""
    if portions is None:
        return None
    return to_arrays({int(c): portions[int(c)] for c in clients if int(c) in portions})
