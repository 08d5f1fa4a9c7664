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
from raysplit.engine.host import peak_memory_bytes
from raysplit.engine.ray.actors import Packed, to_arrays, to_tensors
from raysplit.engine.ray.row_wire import receive_rows
from raysplit.protocols.outcome import Outcome
from raysplit.threads import pin_threads


@ray.remote(max_concurrency=2, scheduling_strategy="SPREAD")
class ShardActor:
    """Holds U[:, columns] of a round. It needs a core only while hosts rest, so it reserves none."""

    def __init__(self, gpus: float) -> None:
        pin_threads()
        self._listener = socket.create_server((ray.util.get_node_ip_address(), 0), backlog=256)
        self._listener.settimeout(10)
        self._hung_up = threading.Event()
        self._shard = ColumnShard()

    def answers(self) -> None:
        """Returns if this process is alive."""

    def take(self) -> tuple[int, tuple[str, int]]:
        """Forget every round; process id and the address at which hosts reach this shard."""
        self._shard.end()
        self._shard = ColumnShard()
        address, port = self._listener.getsockname()[:2]
        return os.getpid(), (address, port)

    def gather(self, task: Any, token: bytes) -> Packed:
        """Take in a round's rows. Raises ``PeerLost`` if told to hang up before all are in."""
        self._hung_up.clear()
        self._shard.gather(to_tensors(task))
        receive_rows(self._listener, token, self._shard, self._hung_up)
        return Packed(to_arrays(Outcome()), peak_memory_bytes())

    def abort(self) -> None:
        """Stop waiting for rows that will not come."""
        self._hung_up.set()

    def proceed(self, total: Any) -> Packed:
        """Go on with the meeting: what is asked next, or the result."""
        return Packed(to_arrays(self._shard.proceed(to_tensors(total))), peak_memory_bytes())

    def total(self, kernel: Kernel, vectors: Any) -> Packed:
        return Packed(to_arrays(self._shard.total(kernel, to_tensors(vectors))), peak_memory_bytes())

    def map(self, kernel: Kernel, vectors: Any) -> Packed:
        return Packed(to_arrays(self._shard.map(kernel, to_tensors(vectors))), peak_memory_bytes())


class RayShards:
    """The shard actors of a round as ``Shards``; ``answers`` waits for calls and unpacks what came."""

    def __init__(self, actors: Sequence[Any], answers: Callable[[list[Any]], list[Any]]) -> None:
        self._actors, self._answers = actors, answers

    def proceed(self, total: torch.Tensor | None) -> list[Any]:
        told = ray.put(to_arrays(total))
        return self._answers([actor.proceed.remote(told) for actor in self._actors])

    def total(self, kernel: Kernel, vectors: Sequence[Sequence[torch.Tensor]]) -> list[Any]:
        sent = ray.put(kernel)
        pairs = zip(self._actors, vectors, strict=True)
        return self._answers([actor.total.remote(sent, to_arrays(list(mine))) for actor, mine in pairs])

    def map(self, kernel: Kernel, vectors: Sequence[Sequence[torch.Tensor]]) -> list[Any]:
        sent = ray.put(kernel)
        pairs = zip(self._actors, vectors, strict=True)
        return self._answers([actor.map.remote(sent, to_arrays(list(mine))) for actor, mine in pairs])
