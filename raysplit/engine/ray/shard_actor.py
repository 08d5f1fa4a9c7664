"""The Ray actor of one column shard of the fed server. Thin: the shard itself is plain Python."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

import ray
import torch

from raysplit.aggregation.columns import Kernel
from raysplit.aggregation.sharding.shard import ColumnShard
from raysplit.engine.activity import Activity, Doing
from raysplit.engine.host import peak_memory_bytes
from raysplit.engine.ray.actors import CONTROL, Packed, Started, to_arrays, to_tensors
from raysplit.engine.ray.row_wire import receive_rows
from raysplit.protocols.outcome import Outcome
from raysplit.threads import pin_threads


@ray.remote(concurrency_groups={CONTROL: 1}, scheduling_strategy="SPREAD")
class ShardActor:
    """Holds U[:, columns] of a round. It needs a core only while hosts have nothing to do, so it reserves none."""

    def __init__(self, gpus: float) -> None:
        pin_threads()
        self._listener = socket.create_server((ray.util.get_node_ip_address(), 0), backlog=256)
        self._hung_up = threading.Event()
        self._shard = ColumnShard()
        self._activity = Activity()

    def answers(self) -> None:
        """Returns if this process is alive."""

    def take(self) -> Started:
        """Forget every round; hosts reach this shard at the address that is returned."""
        self._shard.cancel()
        self._shard = ColumnShard()
        address, port = self._listener.getsockname()[:2]
        return Started(os.getpid(), ray.util.get_node_ip_address(), (address, port))

    @ray.method(concurrency_group=CONTROL)
    def doing(self) -> Doing:
        """What this shard does at the moment."""
        return self._activity.now()

    def gather(self, task: Any, token: bytes) -> Packed:
        """Receive a round's rows. Raises ``PeerLost`` if aborted before all are in."""
        self._hung_up.clear()
        self._shard.prepare(to_tensors(task))
        with self._activity.call(), self._activity.waiting():
            receive_rows(self._listener, token, self._shard, self._hung_up)
        return Packed(to_arrays(Outcome()), peak_memory_bytes())

    @ray.method(concurrency_group=CONTROL)
    def abort(self) -> None:
        """Stop waiting for rows that will not come."""
        self._hung_up.set()

    def resume_poisoning(self, total: Any) -> Packed:
        """Poison up to the next all-reduce or to the end, see ``ColumnShard.resume_poisoning``."""
        with self._activity.call():
            return Packed(to_arrays(self._shard.resume_poisoning(to_tensors(total))), peak_memory_bytes())

    def total(self, kernel: Kernel, vectors: Any) -> Packed:
        with self._activity.call():
            return Packed(to_arrays(self._shard.total(kernel, to_tensors(vectors))), peak_memory_bytes())

    def map(self, kernel: Kernel, vectors: Any) -> Packed:
        with self._activity.call():
            return Packed(to_arrays(self._shard.map(kernel, to_tensors(vectors))), peak_memory_bytes())


class RayShards:
    """The shard actors of a round as ``Shards``; ``answers`` waits for calls and unpacks their results."""

    def __init__(self, actors: Sequence[Any], answers: Callable[[list[Any]], list[Any]]) -> None:
        self._actors, self._answers = actors, answers

    @property
    def count(self) -> int:
        return len(self._actors)

    def resume_poisoning(self, total: torch.Tensor | None) -> list[Any]:
        sent = ray.put(to_arrays(total))
        return self._answers([actor.resume_poisoning.remote(sent) for actor in self._actors])

    def total(self, kernel: Kernel, vectors: Sequence[Sequence[torch.Tensor]]) -> list[Any]:
        sent = ray.put(kernel)
        pairs = zip(self._actors, vectors, strict=True)
        return self._answers([actor.total.remote(sent, to_arrays(list(columns))) for actor, columns in pairs])

    def map(self, kernel: Kernel, vectors: Sequence[Sequence[torch.Tensor]]) -> list[Any]:
        sent = ray.put(kernel)
        pairs = zip(self._actors, vectors, strict=True)
        return self._answers([actor.map.remote(sent, to_arrays(list(columns))) for actor, columns in pairs])
