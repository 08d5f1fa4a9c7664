"""The Ray engine: client hosts and a server pool as actors; O(hosts) calls a round; lost actors are replaced and
replayed.

Actors keep nothing that matters between rounds, so a round that lost one is played again from its start and gives the
same bits.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import ray
import torch
from ray.exceptions import ActorDiedError, ActorUnavailableError, OutOfMemoryError, RayActorError, RayTaskError

from raysplit.aggregation.fed_server import AggregationResult
from raysplit.aggregation.sharding.shard_tasks import row_bounds, shard_tasks
from raysplit.aggregation.sharding.sharded_columns import aggregate_sharded
from raysplit.aggregation.task import AggregationTask
from raysplit.channels.hooks import MessageHook, in_order
from raysplit.engine.engine import EngineCounts
from raysplit.engine.evaluator import evaluation_chunks
from raysplit.engine.host import peak_memory_bytes
from raysplit.engine.placement import Layout
from raysplit.engine.ray.actor_pool import PATIENCE_S, ActorPool, ActorSpec, Worker, end
from raysplit.engine.ray.actors import ClientHost, MainServer, Packed, to_arrays, to_tensors
from raysplit.engine.ray.cluster import ready_within
from raysplit.engine.ray.node_data import NodeData
from raysplit.engine.ray.row_wire import RowSinkAddress
from raysplit.engine.ray.shard_actor import RayShards, ShardActor
from raysplit.engine.ray.wire import TOKEN_BYTES, PeerLost
from raysplit.errors import ClusterError
from raysplit.memory.global_state import GlobalState
from raysplit.memory.memory import copied, of_clients, of_scope
from raysplit.protocols.outcome import ClientScores, Outcome
from raysplit.protocols.plan import RoundPlan
from raysplit.scenario.scenario import Scenario
from raysplit.training.failures import ClientFailure
from raysplit.training.gradient_rules import GradientRule

T = TypeVar("T")
AHEAD = 3
"""Steps that a host keeps under way with a main server in another process; each holds one batch's activations."""
RETRIES = 5
HANG_UP_EVERY_S = 1.0

_SHARD_SPEC: ActorSpec = ("column shard", 0, 0)

log = logging.getLogger("raysplit")


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
    ) -> None:
        """``hooks``, ``gradient_rule``: beside the scenario's own; they travel to the actors by value."""
        self._scenario = scenario
        self._layout = layout
        self._token = secrets.token_bytes(TOKEN_BYTES)
        self._reference = ray.put(scenario)
        self._node_data = NodeData(scenario)
        self._hooks, self._gradient_rule = hooks, gradient_rule
        self._actor_pool = ActorPool() if actor_pool is None else actor_pool
        self._own_pool = actor_pool is None
        self._calls = self._retries = 0
        self._peak = 0
        self._hosts: list[Any] = []
        self._servers: list[Any] = []
        self._addresses: dict[int, tuple[str, int]] = {}
        self._shards: list[Any] = []
        self._shard_addresses: dict[int, tuple[str, int]] = {}
        self.pids: dict[str, int] = {}
        """Process ids by actor name (``host-0``, ``server-0``), for faults and for whoever watches."""
        try:
            self._start()
        except BaseException:
            self.close(broken=True)
            raise

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
        return self._replayed(plan.round, lambda: self._play(plan, start))

    def train_sharded(
        self, plan: RoundPlan, start: GlobalState, task: AggregationTask
    ) -> tuple[Outcome, AggregationResult]:
        return self._replayed(plan.round, lambda: self._sharded(plan, start, task))

    def _replayed(self, round: int, play: Callable[[], T]) -> T:
        """Play a round; an actor that dies is replaced and the round replayed, up to ``RETRIES`` times."""
        for attempt in range(RETRIES + 1):
            try:
                return play()
            except (RayActorError, OutOfMemoryError, PeerLost) as error:
                if attempt == RETRIES:
                    raise ClusterError(
                        f"round {round} lost an actor {RETRIES + 1} times in a row ({_first_line(error)}); "
                        "it probably needs more memory than its host has: use fewer hosts, a smaller batch or more "
                        "shards"
                    ) from error
                self._retries += 1
                log.warning("round %d lost an actor and is played again: %s", round, _first_line(error))
                self._replace_dead()
        raise AssertionError("unreachable")

    def evaluate(
        self,
        clients: np.ndarray,
        client: torch.Tensor,
        server: torch.Tensor,
        portions: dict[int, torch.Tensor] | None = None,
    ) -> ClientScores:
        """Chunks of clients dealt over the hosts in turn; a host gets the portions of its own chunks' clients."""
        chunks = evaluation_chunks(clients)
        for attempt in range(RETRIES + 1):
            try:
                start = ray.put(to_arrays(GlobalState(0, client, server)))
                count = min(len(self._hosts), len(chunks))
                calls = [
                    self._hosts[h].evaluate.remote(
                        chunks[h::count], start, _own(portions, np.concatenate(chunks[h::count]))
                    )
                    for h in range(count)
                ]
                scores: list[Any] = [None] * len(chunks)
                for h, part in enumerate(self._gather(calls)):
                    scores[h::count] = part
                return ClientScores.joined(scores)
            except RayActorError:
                if attempt == RETRIES:
                    raise
                self._retries += 1
                self._replace_dead()
        raise AssertionError("unreachable")

    def counts(self) -> EngineCounts:
        counts = EngineCounts(self._calls, self._retries, max(self._peak, peak_memory_bytes()))
        self._calls = self._retries = 0
        return counts

    def close(self, broken: bool = False, patience_s: float = PATIENCE_S) -> None:
        """Give the actors back; ``broken``: end them, as something may still be under way in them, and wait so long
        until they are gone."""
        staff = [(self._host_spec, f"host-{i}", actor) for i, actor in enumerate(self._hosts)]
        staff += [(self._server_spec, f"server-{i}", actor) for i, actor in enumerate(self._servers)]
        staff += [(_SHARD_SPEC, f"shard-{i}", actor) for i, actor in enumerate(self._shards)]
        self._hosts, self._servers, self._shards = [], [], []
        workers = [(actor_spec, Worker(actor, self.pids.get(name, 0))) for actor_spec, name, actor in staff]
        if broken or self._own_pool:
            end([worker for _, worker in workers], patience_s)
            return
        for actor_spec, worker in workers:
            self._actor_pool.release(actor_spec, worker)

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        # After a Ctrl-C nobody waits for their room, and a batch system may be about to end this process, too.
        self.close(kind is not None, PATIENCE_S if kind is None or issubclass(kind, Exception) else 0)

    @property
    def _host_spec(self) -> ActorSpec:
        return ("client host", 1, self._layout.gpus_per_host)

    @property
    def _server_spec(self) -> ActorSpec:
        return ("main server", self._layout.cpus_per_server, self._layout.gpus_per_host)

    def _start(self) -> None:
        self._hosts = self._actor_pool.acquire(self._host_spec, self._layout.hosts)
        self._servers = self._actor_pool.acquire(self._server_spec, self._layout.servers)
        hosts, servers = self._layout.hosts - len(self._hosts), self._layout.servers - len(self._servers)
        cpus, gpus = hosts + servers * self._layout.cpus_per_server, (hosts + servers) * self._layout.gpus_per_host
        self._actor_pool.make_room(cpus, gpus)
        self._hosts += [_start(ClientHost, self._host_spec) for _ in range(hosts)]
        self._servers += [_start(MainServer, self._server_spec) for _ in range(servers)]
        if self._layout.shards > 1:
            self._shards = self._actor_pool.acquire(_SHARD_SPEC, self._layout.shards)
            self._shards += [_start(ShardActor, _SHARD_SPEC) for _ in range(self._layout.shards - len(self._shards))]
        self._enlist(*(list(range(len(staff))) for staff in (self._hosts, self._servers, self._shards)))

    def _enlist(self, hosts: list[int], servers: list[int], shards: list[int]) -> None:
        """Give these actors the scenario, and wait until they are ready to train; their nodes get its data first."""
        self._node_data.complete()
        scenario, hooks = self._reference, self._hooks
        host_calls = [self._hosts[i].take.remote(scenario, i, hooks, self._gradient_rule) for i in hosts]
        server_calls = [self._servers[i].take.remote(scenario, i, self._token, hooks) for i in servers]
        shard_calls = [self._shards[index].take.remote() for index in shards]
        for index, pid in zip(hosts, ready_within(host_calls, "client hosts"), strict=True):
            self.pids[f"host-{index}"] = pid
        for index, (pid, address) in zip(servers, ready_within(server_calls, "main servers"), strict=True):
            self.pids[f"server-{index}"] = pid
            self._addresses[index] = address
        for index, (pid, address) in zip(shards, ready_within(shard_calls, "column shards"), strict=True):
            self.pids[f"shard-{index}"] = pid
            self._shard_addresses[index] = address
        self._calls += len(host_calls) + len(server_calls) + len(shard_calls)

    def _replace_dead(self) -> None:
        lost: list[list[int]] = []
        for actors, kind, actor_spec in (
            (self._hosts, ClientHost, self._host_spec),
            (self._servers, MainServer, self._server_spec),
            (self._shards, ShardActor, _SHARD_SPEC),
        ):
            gone = []
            for index, actor in enumerate(actors):
                try:
                    ray.get(actor.answers.remote(), timeout=60)
                except (RayActorError, ray.exceptions.GetTimeoutError):
                    ray.kill(actor, no_restart=True)
                    actors[index] = _start(kind, actor_spec)
                    gone.append(index)
            lost.append(gone)
        self._enlist(*lost)

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
        self, plan: RoundPlan, start: GlobalState, sink: RowSinkAddress | None = None, gathering: Sequence[Any] = ()
    ) -> Outcome:
        """A round on hosts and servers. ``sink``: where finished portions go, if not back; ``gathering``: calls that
        wait for these."""
        calls = [
            *gathering,
            *(self._pooled(plan, start, sink) if self._servers else self._colocated(plan, start, sink)),
        ]
        return self._merge(self._gather(calls, on_loss=self._abort))

    def _sharded(self, plan: RoundPlan, start: GlobalState, task: AggregationTask) -> tuple[Outcome, AggregationResult]:
        """A round whose portions go from the hosts to the column shards, which aggregate them; the driver sees none
        of them."""
        count, token = len(self._shards), secrets.token_bytes(TOKEN_BYTES)
        bounds = row_bounds(len(task.portion), task.parameters, count)
        sink = RowSinkAddress(tuple(self._shard_addresses[i] for i in range(count)), tuple(bounds), token)
        pieces = [ray.put(to_arrays(piece)) for piece in shard_tasks(task, count)]
        gathering = [shard.gather.remote(piece, token) for shard, piece in zip(self._shards, pieces, strict=True)]
        outcome = self._play(plan, start, sink, gathering)
        return outcome, aggregate_sharded(task, RayShards(self._shards, self._answers))

    def _answers(self, calls: list[Any]) -> list[Any]:
        """What the shards answer, as tensors."""
        answers = self._gather(calls)
        self._peak = max(self._peak, *(packed.peak_memory_bytes for packed in answers))
        return [to_tensors(packed.outcome) for packed in answers]

    def _colocated(self, plan: RoundPlan, start: GlobalState, sink: RowSinkAddress | None) -> list[Any]:
        shared = self._share(start)
        shared_plan = ray.put(plan)
        dealt = self._deal(plan)
        return [
            host.train.remote(shared_plan, groups, shared, _memory(start, _clients(plan, groups)), sink)
            for host, groups in zip(self._hosts, dealt, strict=True)
            if groups
        ]

    def _pooled(self, plan: RoundPlan, start: GlobalState, sink: RowSinkAddress | None) -> list[Any]:
        begin, shared_plan = self._share(start), ray.put(plan)
        dealt = {host: groups for host, groups in enumerate(self._deal(plan)) if groups}
        pool = len(self._servers)
        ahead = 1 if self._scenario.protocol.client_sync == "handover" else AHEAD
        calls = []
        for index, server in enumerate(self._servers):
            served = {host: groups for host, groups in dealt.items() if host % pool == index}
            if served:
                calls.append(server.serve.remote(shared_plan, begin, served, ahead))
        for host, groups in dealt.items():
            address = self._addresses[host % pool]
            own = _memory(start, _clients(plan, groups))
            call = self._hosts[host].train_pooled
            calls.append(call.remote(shared_plan, groups, begin, own, address, self._token, ahead, sink))
        return calls

    def _abort(self) -> None:
        """Tell all servers and shards to hang up, and wait until they have: a late hang-up must not hit the replay."""
        for call in [actor.abort.remote() for actor in (*self._servers, *self._shards)]:
            try:
                ray.get(call, timeout=30)
            except (RayActorError, ray.exceptions.GetTimeoutError):
                continue  # dead, or as good as: it will be replaced

    def _gather(self, calls: Sequence[Any], on_loss: Callable[[], None] = lambda: None) -> list[Any]:
        """Results in the order of the calls. A client's own exception outranks the broken wires that it causes."""
        self._calls += len(calls)
        results: list[Any] = [None] * len(calls)
        failures: list[Exception] = []
        pending = {call: index for index, call in enumerate(calls)}
        while pending:
            done, _ = ray.wait(list(pending), num_returns=1, timeout=HANG_UP_EVERY_S if failures else None)
            if not done:
                on_loss()  # a host that called after the last hang-up still waits for an answer
            for call in done:
                index = pending.pop(call)
                try:
                    results[index] = ray.get(call)
                except RayTaskError as error:
                    cause = error.cause
                    failures.append(cause if isinstance(cause, Exception) else error)
                    on_loss()
                except (ActorDiedError, ActorUnavailableError, OutOfMemoryError, RayActorError) as error:
                    failures.append(error)
                    on_loss()
        if failures:
            raise min(failures, key=_urgency)
        return results

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


def _urgency(error: Exception) -> int:
    if isinstance(error, ClientFailure):
        return 0
    return 2 if isinstance(error, PeerLost) else 1 if isinstance(error, RayActorError | OutOfMemoryError) else 0


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _start(kind: Any, actor_spec: ActorSpec) -> Any:
    """A new actor of a kind."""
    _, cpus, gpus = actor_spec
    return kind.options(num_cpus=cpus, num_gpus=gpus, max_restarts=0).remote(gpus)
