"""Actors that outlive an engine: a process that has imported torch costs seconds, and the next scenario can use it.

Nothing of a scenario stays in them: whoever takes an actor gives it another scenario.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import ray

ActorSpec = tuple[str, float, float]
"""What an actor was started as: its kind, its CPUs and its share of a GPU."""
PATIENCE_S = 10.0
"""How long an actor that was killed may take."""


class Worker(NamedTuple):
    """An actor and its process id."""

    actor: Any
    pid: int


class ActorPool:
    """The idle actors of one cluster; use as a context manager, and what is left of them ends with it."""

    def __init__(self) -> None:
        self._idle: dict[ActorSpec, list[Worker]] = {}

    def acquire(self, actor_spec: ActorSpec, count: int) -> list[Any]:
        """Up to ``count`` idle actors of a kind; they are the caller's from here on."""
        idle = self._idle.get(actor_spec, [])
        acquired, self._idle[actor_spec] = idle[:count], idle[count:]
        return [worker.actor for worker in acquired]

    def release(self, actor_spec: ActorSpec, worker: Worker) -> None:
        """Take an actor back that is alive and idle."""
        self._idle.setdefault(actor_spec, []).append(worker)

    def make_room(self, cpus: float, gpus: float) -> None:
        """End the idle actors that hold cores or shares of GPUs where the cluster has not so many free. Returns when
        they are gone."""
        free = ray.available_resources()
        if free.get("CPU", 0) < cpus or free.get("GPU", 0) < gpus:
            self._end([actor_spec for actor_spec in self._idle if actor_spec[1] or actor_spec[2]])

    def __enter__(self) -> ActorPool:
        return self

    def __exit__(self, *error: object) -> None:
        self._end(list(self._idle))

    def _end(self, specs: list[ActorSpec]) -> None:
        end([worker for actor_spec in specs for worker in self._idle.pop(actor_spec)])


def end(workers: list[Worker], patience_s: float = PATIENCE_S) -> None:
    """Kill actors and wait until their processes are gone, at most ``patience_s``."""
    for worker in workers:
        ray.kill(worker.actor, no_restart=True)
    deadline = time.monotonic() + patience_s
    while any(alive(worker.pid) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process of this machine runs; one of another machine counts as gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False
