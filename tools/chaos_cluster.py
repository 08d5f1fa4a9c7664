"""A Ray cluster of several nodes in one machine, on the loopback interface, whose processes a campaign may strike."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray._private.node import Node
from ray._private.parameter import RayParams

from raysplit.engine.ray.own_cluster import LOOPBACK, on_loopback
from raysplit.engine.ray.session_folder import session_folder

OBJECT_STORE = 128 << 20
ACTORS = {"host": "ray::ClientHost", "server": "ray::MainServer", "shard": "ray::ShardActor"}
"""What Ray calls the processes of actors."""


class SmallCluster:
    """A head that plays nothing, and nodes that do."""

    def __init__(self, folder: str, cpus_per_node: int) -> None:
        self._folder, self._cpus = folder, cpus_per_node
        self._head = self._node(None, 0)
        self.address = str(self._head.gcs_address)
        self.nodes = [self.add_node() for _ in range(2)]

    def add_node(self) -> Node:
        """One node more, alive when this returns."""
        return self._node(self.address, self._cpus)

    def replace_dead(self) -> None:
        """A node for every one whose raylet was killed."""
        for index, node in enumerate(self.nodes):
            if not alive(raylet(node)):
                node.kill_all_processes(check_alive=False, allow_graceful=False)
                self.nodes[index] = self.add_node()

    def processes(self, kind: str) -> list[int]:
        """The actors of a kind (``ACTORS``) that run on this cluster, by age."""
        below = _below({raylet(node) for node in self.nodes})
        return sorted(pid for pid in below if _command(pid).startswith(ACTORS[kind]) and alive(pid))

    def close(self) -> None:
        for node in (*self.nodes, self._head):
            node.kill_all_processes(check_alive=False, allow_graceful=False)

    def _node(self, address: str | None, cpus: int) -> Node:
        parameters = RayParams(
            gcs_address=address,
            node_ip_address=LOOPBACK,
            num_cpus=cpus,
            num_gpus=0,
            object_store_memory=OBJECT_STORE,
            include_dashboard=False,
            temp_dir=self._folder,
            session_name=None,
        )
        with on_loopback():
            return Node(parameters, head=address is None, shutdown_at_exit=False, spawn_reaper=False)


@contextmanager
def small_cluster(cpus_per_node: int = 3) -> Iterator[SmallCluster]:
    """Two nodes and a head for a ``with``; none of their processes is left after it."""
    with session_folder() as folder:
        cluster = SmallCluster(str(folder), cpus_per_node)
        try:
            yield cluster
        finally:
            cluster.close()


def raylet(node: Node) -> int:
    """The process that holds a node together."""
    processes: dict[str, Any] = node.all_processes
    return int(processes["raylet"][0].process.pid)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def gone_within(pids: list[int], seconds: float) -> list[int]:
    """Those of ``pids`` that still run when so many seconds have passed."""
    deadline = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return [pid for pid in pids if alive(pid)]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _below(roots: set[int]) -> set[int]:
    """The processes below some."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parents[int(entry)] = int(Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
    found: set[int] = set()
    while fresh := {child for child, parent in parents.items() if parent in found | roots} - found:
        found |= fresh
    return found
