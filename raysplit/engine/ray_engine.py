"""The Ray engine: client hosts and a server pool as actors; O(hosts) calls a round; lost actors are replaced and replayed.

Actors keep nothing that matters between rounds, so a round that lost one is played again from its start and gives the same bits.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import ray
import torch
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError, RayTaskError

from raysplit.engine.actors import ClientHost, MainServer, Packed, to_arrays, to_tensors
from raysplit.engine.cluster import ready_within
from raysplit.engine.engine import ClientScores, EngineCounts, RoundStart
from raysplit.engine.host import evaluation_chunks, peak_memory_bytes
from raysplit.engine.placement import Layout
from raysplit.engine.wire import TOKEN_BYTES, PeerLost
from raysplit.errors import ClusterError
from raysplit.protocols.client_side import ClientFailure
from raysplit.protocols.plan import Outcome, RoundPlan
from raysplit.scenario import Scenario

AHEAD = 3
"""Steps that a host keeps under way with a main server in another process; each holds one batch's activations."""
RETRIES = 5
HANG_UP_EVERY_S = 1.0

log = logging.getLogger("raysplit")


class RayEngine:
    """``connect`` (cluster.py) must have been called. One engine a scenario; closing it removes its actors."""

    def __init__(self, scenario: Scenario, layout: Layout) -> None:
        self._scenario = scenario
        self._layout = layout
        self._token = secrets.token_bytes(TOKEN_BYTES)
        self._reference = ray.put(scenario)
        self._calls = self._retries = 0
        self._peak = 0
        self._hosts: list[Any] = []
        self._servers: list[Any] = []
        self._addresses: list[tuple[str, int]] = []
        self.pids: dict[str, int] = {}
        """Process ids by actor name (``host-0``, ``server-0``), for faults and for whoever watches."""
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def describe(self) -> dict[str, str | int | float]:
        layout = self._layout
        return {
            "engine": "ray",
            "hosts": layout.hosts,
            "servers": layout.servers,
            "placement": layout.placement,
            "gpus_per_host": layout.gpus_per_host,
        }

    def train(self, plan: RoundPlan, start: RoundStart) -> Outcome:
        """Play a round; a host or server that dies is replaced and the round replayed, up to ``RETRIES`` times."""
        for attempt in range(RETRIES + 1):
            try:
                return self._pooled(plan, start) if self._servers else self._colocated(plan, start)
            except (RayActorError, PeerLost) as error:
                if attempt == RETRIES:
                    raise ClusterError(
                        f"round {plan.round} lost an actor {RETRIES + 1} times in a row ({_first_line(error)}); "
                        "it probably needs more memory than its host has: use fewer hosts or a smaller batch"
                    ) from error
                self._retries += 1
                log.warning("round %d lost an actor and is played again: %s", plan.round, _first_line(error))
                self._replace_dead()
        raise AssertionError("unreachable")

    def evaluate(self, clients: np.ndarray, client: torch.Tensor, server: torch.Tensor) -> ClientScores:
        """Chunks of clients dealt over the hosts in turn."""
        chunks = evaluation_chunks(clients)
        for attempt in range(RETRIES + 1):
            try:
                start = ray.put(to_arrays(RoundStart(client, server, None, {})))
                count = min(len(self._hosts), len(chunks))
                calls = [self._hosts[h].evaluate.remote(chunks[h::count], start) for h in range(count)]
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

    def close(self) -> None:
        for actor in [*self._hosts, *self._servers]:
            ray.kill(actor, no_restart=True)
        self._hosts, self._servers = [], []
        deadline = time.monotonic() + 10
        while any(_alive(pid) for pid in self.pids.values()) and time.monotonic() < deadline:
            time.sleep(0.05)

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _start(self) -> None:
        self._hosts = [self._new_host(index) for index in range(self._layout.hosts)]
        self._servers = [self._new_server() for _ in range(self._layout.servers)]
        self._await_ready()

    def _await_ready(self) -> None:
        hosts = ready_within([host.ready.remote() for host in self._hosts], "client hosts")
        servers = ready_within([server.ready.remote() for server in self._servers], "main servers")
        self._calls += len(hosts) + len(servers)
        self.pids = {f"host-{i}": pid for i, pid in enumerate(hosts)}
        self.pids.update({f"server-{i}": pid for i, (pid, _) in enumerate(servers)})
        self._addresses = [address for _, address in servers]

    def _new_host(self, index: int) -> Any:
        options = {"num_cpus": 1, "num_gpus": self._layout.gpus_per_host, "max_restarts": 0}
        return ClientHost.options(**options).remote(self._reference, index, self._layout.gpus_per_host)  # type: ignore[attr-defined]

    def _new_server(self) -> Any:
        options = {"num_cpus": self._layout.cpus_per_server, "num_gpus": self._layout.gpus_per_host, "max_restarts": 0}
        return MainServer.options(**options).remote(self._reference, self._token, self._layout.gpus_per_host)  # type: ignore[attr-defined]

    def _replace_dead(self) -> None:
        for actors, new in ((self._hosts, self._new_host), (self._servers, lambda _: self._new_server())):
            for index, actor in enumerate(actors):
                try:
                    ray.get(actor.ready.remote(), timeout=60)
                except (RayActorError, ray.exceptions.GetTimeoutError):
                    ray.kill(actor, no_restart=True)
                    actors[index] = new(index)
        self._await_ready()

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

    def _colocated(self, plan: RoundPlan, start: RoundStart) -> Outcome:
        shared = ray.put(to_arrays(start)), ray.put(plan)
        dealt = self._deal(plan)
        calls = [
            host.train.remote(shared[1], groups, shared[0])
            for host, groups in zip(self._hosts, dealt, strict=True)
            if groups
        ]
        return self._merge(self._gather(calls))

    def _pooled(self, plan: RoundPlan, start: RoundStart) -> Outcome:
        begin, shared_plan = ray.put(to_arrays(start)), ray.put(plan)
        dealt = {host: groups for host, groups in enumerate(self._deal(plan)) if groups}
        pool = len(self._servers)
        ahead = 1 if self._scenario.protocol.meeting == "handover" else AHEAD
        calls = []
        for index, server in enumerate(self._servers):
            served = {host: groups for host, groups in dealt.items() if host % pool == index}
            if served:
                calls.append(server.serve.remote(shared_plan, begin, served, ahead))
        for host, groups in dealt.items():
            address = self._addresses[host % pool]
            calls.append(self._hosts[host].visit.remote(shared_plan, groups, begin, address, self._token, ahead))
        return self._merge(self._gather(calls, on_loss=self._abort))

    def _abort(self) -> None:
        """Tell all servers to hang up, and wait until they have: a late hang-up must not hit the replay."""
        for call in [server.abort.remote() for server in self._servers]:
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
                except (ActorDiedError, ActorUnavailableError, RayActorError) as error:
                    failures.append(error)
                    on_loss()
        if failures:
            raise min(failures, key=_urgency)
        return results

    def _merge(self, parts: list[Packed]) -> Outcome:
        outcome = Outcome.empty()
        for packed in parts:
            outcome.merge(to_tensors(packed.outcome))
            self._peak = max(self._peak, packed.peak_memory_bytes)
        # Kept for many rounds; views would hold this round's whole outcome in Ray's store.
        for client, kept in outcome.client_states.items():
            outcome.client_states[client] = {name: tensor.clone() for name, tensor in kept.items()}
        outcome.carried = {name: tensor.clone() for name, tensor in outcome.carried.items()}
        for client, portion in outcome.parked.items():
            outcome.parked[client] = portion.clone()
        for client, kept in outcome.parked_states.items():
            outcome.parked_states[client] = {name: tensor.clone() for name, tensor in kept.items()}
        return outcome


def _urgency(error: Exception) -> int:
    if isinstance(error, ClientFailure):
        return 0
    return 2 if isinstance(error, PeerLost) else 1 if isinstance(error, RayActorError) else 0


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False
