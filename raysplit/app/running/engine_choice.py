"""Where to run: the choice of engine, checked before anything starts, and the cluster and engine that it opens."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Literal, NamedTuple

from raysplit.engine.engine import Engine
from raysplit.engine.placement import Resources, Wanted, lay_out
from raysplit.errors import ClusterError, ScenarioError
from raysplit.parts.own_modules import own_modules
from raysplit.scenario.scenario import Scenario

if TYPE_CHECKING:
    from raysplit.engine.ray.actor_pool import ActorPool


@dataclass(frozen=True)
class EngineChoice:
    """Where to run; the defaults are what the command line's are. None of it can change a result."""

    engine: Literal["local", "ray"] = "ray"
    hosts: int | None = None
    servers: int | None = None
    placement: Literal["auto", "pooled", "colocated"] = "auto"
    gpus_per_host: float | None = None
    address: str | None = None
    shards: int = 1
    deadline: float | None = None
    """Of every call on Ray [s]; None: measured."""


def check_choice(choice: EngineChoice) -> None:
    """Raise for what no cluster can give, before anything is started or written."""
    given = (choice.hosts, choice.servers, choice.address, choice.gpus_per_host, choice.deadline)
    if choice.engine == "local" and any(value is not None for value in given):
        raise ScenarioError(
            "--hosts, --servers, --address, --gpus-per-host and --deadline belong to --engine ray; leave them out with "
            "--engine local"
        )
    for option, count in (("--hosts", choice.hosts), ("--servers", choice.servers)):
        if count is not None and count < 1:
            raise ClusterError(f"{option} must be at least 1, but it is {count}")
    if choice.gpus_per_host is not None and not 0 <= choice.gpus_per_host < float("inf"):
        raise ClusterError(
            f"--gpus-per-host must be 0 or a share of a GPU such as 0.25, but it is {choice.gpus_per_host:g}"
        )
    if choice.deadline is not None and not 0 < choice.deadline < float("inf"):
        raise ClusterError(f"--deadline must be a number of seconds above 0, but it is {choice.deadline:g}")
    if choice.address is not None:
        check_address(choice.address)


def check_address(address: str) -> None:
    """Raise ``ClusterError`` where nobody listens at ``HOST:PORT``; Ray itself would try for minutes, noisily."""
    if address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise ClusterError(f"--address {address!r} is not of the form HOST:PORT, such as 10.0.0.1:6379, nor 'auto'")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster at {address!r} ({error.strerror or error}); start one with 'ray start --head' or leave "
            "--address out"
        ) from error


class Cluster(NamedTuple):
    """A connected Ray cluster, and its actors that wait for the next scenario."""

    resources: Resources
    actor_pool: ActorPool


@contextmanager
def open_cluster(choice: EngineChoice, portions: list[tuple[Scenario, int]]) -> Iterator[Cluster | None]:
    """The Ray cluster for scenarios and the bytes of their larger portions; None for the local engine. Ray is imported
    only if it is used."""
    if choice.engine == "local":
        yield None
        return
    from raysplit.engine.ray.actor_pool import ActorPool
    from raysplit.engine.ray.cluster import connect, object_store_bytes

    store = max(object_store_bytes(scenario, portion, choice.shards) for scenario, portion in portions)
    cpus = None if choice.hosts is None else choice.hosts + (choice.servers or 1)
    with connect(choice.address, store, cpus) as resources, ActorPool() as actor_pool:
        yield Cluster(resources, actor_pool)


@contextmanager
def open_engine(
    scenario: Scenario, choice: EngineChoice, cluster: Cluster | None, module: ModuleType | None
) -> Iterator[Engine]:
    """The engine that was chosen, closed at the end."""
    if cluster is None:
        from raysplit.engine.local import LocalEngine

        with LocalEngine(scenario, shards=choice.shards) as local:
            yield local
        return
    from raysplit.engine.ray.cluster import by_value
    from raysplit.engine.ray.ray_engine import RayEngine

    wanted = Wanted(choice.hosts, choice.servers, choice.placement, choice.gpus_per_host, choice.shards)
    if module is not None:
        for own in own_modules(module):
            by_value(own)
    layout = lay_out(scenario, cluster.resources, wanted)
    with RayEngine(scenario, layout, cluster.actor_pool, deadline=choice.deadline) as engine:
        yield engine
