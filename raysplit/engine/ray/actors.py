"""The two kinds of Ray actors: client hosts and main servers. Thin: they unpack, call plain Python, and pack."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import ray
import torch

from raysplit.aggregation.across import ReductionRequest
from raysplit.aggregation.poisoning import Poisoned
from raysplit.aggregation.rule import RoundContext
from raysplit.aggregation.sharding.reduction import Done
from raysplit.aggregation.task import AggregationTask
from raysplit.channels.hooks import MessageHook, Observation
from raysplit.channels.message import Message
from raysplit.engine.activity import Activity, Doing, WatchedLink, watched_sink
from raysplit.engine.hooks import take_end
from raysplit.engine.host import Host, peak_memory_bytes, take_result
from raysplit.engine.ray.handshake import Greetings, turn_away_waiting
from raysplit.engine.ray.row_wire import RowSender, RowSinkAddress
from raysplit.engine.ray.wire import CALL_TIMEOUT_S, PeerLost, Wire, WireLink
from raysplit.memory.global_state import GlobalState
from raysplit.memory.memory import SERVER_OPTIMIZER
from raysplit.protocols.outcome import ClientScores, Outcome
from raysplit.protocols.plan import RoundPlan
from raysplit.protocols.split_steps import SplitStep
from raysplit.scenario.scenario import Scenario
from raysplit.training.client_step import client_step_of
from raysplit.training.failures import ClientFailure
from raysplit.training.gradient_rules import GradientRule
from raysplit.training.server import serve, split_step_of
from raysplit.training.servers.main_server import open_server
from raysplit.training.slot_pool import RowSink

Inbox = queue.SimpleQueue[tuple[int, Message | None]]
"""(host, message), None: that host is gone."""
_OPENED = (Outcome, Observation, GlobalState, AggregationTask, RoundContext, ReductionRequest, Done, Poisoned)
"""Records whose tensors travel as arrays."""


@dataclass(frozen=True)
class Packed:
    """An outcome whose tensors are numpy arrays, which Ray moves without a copy."""

    outcome: Any
    peak_memory_bytes: int


def to_arrays(thing: Any) -> Any:
    """Tensors inside dicts and records → numpy arrays."""
    if torch.is_tensor(thing):
        return _Array(thing.detach().cpu().numpy())
    if isinstance(thing, dict):
        return {key: to_arrays(value) for key, value in thing.items()}
    if isinstance(thing, list):
        return [to_arrays(value) for value in thing]
    if isinstance(thing, _OPENED):
        return replace(thing, **{name: to_arrays(value) for name, value in vars(thing).items()})
    return thing


def to_tensors(thing: Any) -> Any:
    """The inverse of ``to_arrays``. The tensors are read-only views of Ray's store: whoever steps on them copies
    first."""
    if isinstance(thing, _Array):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "not writable": nobody writes
            return torch.from_numpy(thing.array)
    if isinstance(thing, dict):
        return {key: to_tensors(value) for key, value in thing.items()}
    if isinstance(thing, list):
        return [to_tensors(value) for value in thing]
    if isinstance(thing, _OPENED):
        return replace(thing, **{name: to_tensors(value) for name, value in vars(thing).items()})
    return thing


def _begin(start: Any, memory: Any) -> GlobalState:
    """The state with which a host begins: what all were given, and the memory of its own clients."""
    shared: GlobalState = to_tensors(start)
    return replace(shared, memory={**shared.memory, **to_tensors(memory)})


@contextlib.contextmanager
def _sending(sink: RowSinkAddress | None, host: int, activity: Activity) -> Iterator[RowSink | None]:
    """What takes finished portions to the column shards, if there are any."""
    if sink is None:
        yield None
        return
    with activity.waiting():
        sender = RowSender(sink, host)
    try:
        yield watched_sink(sender.send, activity)
    finally:
        sender.close()


class Started(NamedTuple):
    """What an actor answers once it is ready: its process id, its node, and the address at which others reach it."""

    pid: int
    node: str
    address: tuple[str, int] | None = None


@dataclass(frozen=True)
class _Array:
    """Marks what was a tensor, so that arrays which were arrays stay so."""

    array: np.ndarray


def _limit_gpu(share: float) -> str:
    """A share of a GPU is a share of its memory too; returns the device."""
    if share <= 0:
        return "cpu"
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.cuda.set_per_process_memory_fraction(min(share, 1.0))
    return "cuda"


CONTROL = "control"
"""The concurrency group, a thread of its own, of what is asked and told while an actor works."""


@ray.remote(concurrency_groups={CONTROL: 1})
class ClientHost:
    """A shard of the virtual clients on one core or a share of a GPU. It plays for one scenario at a time."""

    def __init__(self, gpus: float) -> None:
        self._device = _limit_gpu(gpus)
        self._activity = Activity()

    def take(
        self,
        scenario: Scenario,
        index: int,
        hooks: tuple[MessageHook, ...] = (),
        gradient_rule: GradientRule | None = None,
    ) -> Started:
        """From here on play for ``scenario``; returns once the population is open and the model built."""
        self._index = index
        with self._activity.call():
            self._host = Host(scenario, self._device, hooks, gradient_rule, activity=self._activity)
            self._host.initial()
        return Started(os.getpid(), ray.util.get_node_ip_address())

    @ray.method(concurrency_group=CONTROL)
    def doing(self) -> Doing:
        """What this host does at the moment."""
        return self._activity.now()

    def answers(self) -> None:
        """Returns if this process is alive and idle."""

    def train(
        self, plan: RoundPlan, groups: Sequence[int], start: Any, memory: Any, sink: RowSinkAddress | None = None
    ) -> Packed:
        """``memory``: what clients of these groups keep. ``sink``: where finished
        ones go, if not back."""
        try:
            with self._activity.call(), _sending(sink, self._index, self._activity) as row_sink:
                outcome = self._host.train(plan, groups, _begin(start, memory), row_sink)
        except ClientFailure as failure:
            raise failure.on(self._name()) from None
        return Packed(to_arrays(outcome), peak_memory_bytes())

    def train_pooled(
        self,
        plan: RoundPlan,
        groups: Sequence[int],
        start: Any,
        memory: Any,
        address: Any,
        token: bytes,
        ahead: int,
        sink: RowSinkAddress | None = None,
    ) -> Packed:
        """Play groups against the main server at ``address``."""
        link = WireLink(address, token, self._index)
        watched = WatchedLink(link, self._activity)
        try:
            with self._activity.call(), _sending(sink, self._index, self._activity) as row_sink:
                outcome = self._host.train_pooled(plan, groups, _begin(start, memory), watched, ahead, row_sink)
        except ClientFailure as failure:
            raise failure.on(self._name()) from None
        finally:
            link.close()
        return Packed(to_arrays(outcome), peak_memory_bytes())

    def _name(self) -> str:
        return f"host {self._index} (pid {os.getpid()}, node {ray.util.get_node_ip_address()})"

    def evaluate(self, chunks: Sequence[np.ndarray], start: Any, portions: Any) -> list[ClientScores]:
        """``portions``: by client id, those of this host's chunks alone; None where clients keep none."""
        begin, own = to_tensors(start), to_tensors(portions)
        try:
            with self._activity.call():
                return [self._host.evaluate(chunk, begin.client, begin.server, own) for chunk in chunks]
        except ClientFailure as failure:
            raise failure.on(self._name()) from None


@ray.remote(concurrency_groups={CONTROL: 1})
class MainServer:
    """One member of the server pool: the shared portion, or the replicas of the hosts that it is given. One scenario at
    a time."""

    def __init__(self, gpus: float) -> None:
        self._device = _limit_gpu(gpus)
        self._activity = Activity()
        self._listener = socket.create_server((ray.util.get_node_ip_address(), 0), backlog=256)
        self._hung_up = threading.Event()
        self._wires: dict[int, Wire] = {}

    def answers(self) -> None:
        """Returns if this process is alive."""

    def take(self, scenario: Scenario, index: int, hooks: tuple[MessageHook, ...] = ()) -> Started:
        """From here on serve ``scenario``, at the address that is returned."""
        self._index = index
        with self._activity.call():
            self._host = Host(scenario, self._device, hooks)
            self._host.initial()
        self._requests = client_step_of(scenario.protocol).requests
        self._protocol = scenario.protocol
        address, port = self._listener.getsockname()[:2]
        return Started(os.getpid(), ray.util.get_node_ip_address(), (address, port))

    @ray.method(concurrency_group=CONTROL)
    def doing(self) -> Doing:
        """What this server does at the moment."""
        return self._activity.now()

    def serve(self, plan: RoundPlan, start: Any, groups: dict[int, list[int]], token: bytes, ahead: int) -> Packed:
        """Serve one round to the hosts in ``groups`` (host → its client groups), who prove that they know ``token``,
        the secret of this attempt at the round."""
        with self._activity.call():
            return self._serve(plan, start, groups, token, ahead)

    def _serve(self, plan: RoundPlan, start: Any, groups: dict[int, list[int]], token: bytes, ahead: int) -> Packed:
        begin: GlobalState = to_tensors(start)
        self._hung_up.clear()
        served = [group for dealt in groups.values() for group in dealt]
        inbox: Inbox = queue.SimpleQueue()
        shared = self._protocol.server == "shared"
        slots = self._host.server_slots(1 if shared else len(groups) * ahead)
        vector, kept = begin.server.to(self._host.device), begin.memory.get(SERVER_OPTIMIZER)
        _, end = self._host.ends(plan, begin)
        server = open_server(self._protocol, plan, slots, vector, kept, served, end)
        host_of = {p: host for host, dealt in groups.items() for group in dealt for p in plan.groups[group]}

        def answer(message: Message) -> None:
            """Take a message to the server and send what is due now, to whichever hosts."""
            self._activity.step(message.round, message.client)
            for reply in serve(server, end, self._here(message)):
                wire = self._wires.get(host_of[reply.position])
                if wire is None:
                    raise PeerLost("this server was told to hang up")
                with self._activity.waiting():
                    wire.send(reply)

        try:
            with self._activity.waiting():
                self._connect(set(groups), token, inbox)
            messages = Messages(inbox, self._owed(plan, groups), self._activity)
            if shared:
                for split_step in plan.split_steps(self._protocol):
                    for _ in range(self._requests):
                        answer(messages.of(split_step, host_of[split_step.position]))
            else:
                for message in messages:
                    answer(message)
        except ClientFailure as failure:
            raise failure.on(self._name()) from None
        finally:
            self.abort()
        outcome = Outcome()
        take_result(outcome, server.result())
        outcome.crossed(end.traffic)
        take_end(outcome, end)
        return Packed(to_arrays(outcome), peak_memory_bytes())

    def _here(self, message: Message) -> Message:
        """The message with its tensors on this server's device."""
        device = self._host.device
        if device.type == "cpu":
            return message
        labels = None if message.labels is None else message.labels.to(device)
        return replace(message, tensor=message.tensor.to(device), labels=labels)

    def _owed(self, plan: RoundPlan, groups: dict[int, list[int]]) -> dict[int, int]:
        """Messages that each host has still to send; once it owes none it may hang up."""
        return {
            host: self._requests * sum(int(plan.owed[p]) for group in dealt for p in plan.groups[group])
            for host, dealt in groups.items()
        }

    def _name(self) -> str:
        return f"server {self._index} (pid {os.getpid()}, node {ray.util.get_node_ip_address()})"

    @ray.method(concurrency_group=CONTROL)
    def abort(self) -> None:
        """Hang up: whoever waits for this server, and this server if it waits for a lost host, stops waiting."""
        self._hung_up.set()
        for wire in list(self._wires.values()):
            wire.close()
        self._wires.clear()
        turn_away_waiting(self._listener)

    def _connect(self, hosts: set[int], token: bytes, inbox: Inbox) -> None:
        missing = set(hosts)
        deadline = time.monotonic() + CALL_TIMEOUT_S
        with Greetings(self._listener, token) as greetings:
            while missing:
                if self._hung_up.is_set() or time.monotonic() > deadline:
                    raise PeerLost(f"hosts {sorted(missing)} did not call")
                for host, connection in greetings.let_in(0.2):
                    if host not in missing:
                        connection.close()
                        continue
                    self._wires[host] = Wire(connection, lambda message, host=host: inbox.put((host, message)))  # type: ignore[misc]
                    missing.discard(host)


class Messages:
    """What hosts send in a round, as it comes or in the order of split steps. Raises ``PeerLost`` for a host that is
    gone and still owes messages."""

    def __init__(self, inbox: Inbox, owed: dict[int, int], activity: Activity) -> None:
        self._inbox, self._owed, self._activity = inbox, owed, activity
        self._early: dict[SplitStep, list[Message]] = {}

    def __iter__(self) -> Iterator[Message]:
        """Every message of the round, as it comes."""
        while any(self._owed.values()):
            host, message = self._next()
            yield message
            self._owed[host] -= 1

    def of(self, split_step: SplitStep, host: int) -> Message:
        """The next message of a split step of ``host``'s; those of others that come before it wait."""
        while split_step not in self._early:
            _, message = self._next()
            self._early.setdefault(split_step_of(message), []).append(message)
        waiting = self._early[split_step]
        message = waiting.pop(0)
        if not waiting:
            del self._early[split_step]
        self._owed[host] -= 1
        return message

    def _next(self) -> tuple[int, Message]:
        while True:
            with self._activity.waiting():
                host, message = self._inbox.get()
            if message is not None:
                return host, message
            if self._owed[host]:
                raise PeerLost(f"host {host} is gone")
