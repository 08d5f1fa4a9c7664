"""Which actors a scenario gets on a cluster: how many hosts and servers, and on what. It never changes a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from raysplit.errors import ClusterError, counted
from raysplit.scenario.scenario import Scenario

Placement = Literal["auto", "pooled", "colocated"]


@dataclass(frozen=True)
class Resources:
    """What a cluster has: whole CPUs and GPUs over all nodes."""

    cpus: int
    gpus: float
    nodes: int = 1


@dataclass(frozen=True)
class Wanted:
    """What a user wants; None: let RaySplit choose. ``gpus_per_host``: a share of a GPU, 0 for CPUs only."""

    hosts: int | None = None
    servers: int | None = None
    placement: Placement = "auto"
    gpus_per_host: float | None = None
    shards: int = 1


@dataclass(frozen=True)
class Layout:
    """The actors of a run. ``servers`` is 0 where the server portion runs beside the clients or does not exist.
    ``shards``: in how many column shards updates are aggregated; 1 is the driver itself."""

    hosts: int
    servers: int
    placement: Literal["pooled", "colocated"]
    gpus_per_host: float
    why: str
    cpus_per_server: int = 1
    shards: int = 1


def lay_out(scenario: Scenario, have: Resources, want: Wanted) -> Layout:
    """Fit a scenario onto a cluster. Raises ``ClusterError`` for what the cluster does not have."""
    protocol = scenario.protocol
    placement, why = _placement(scenario, want)
    gpus = want.gpus_per_host
    if gpus is None:
        gpus = 0.0 if have.gpus == 0 else 0.25
    if gpus > 0 and have.gpus == 0:
        raise ClusterError(f"{gpus:g} GPU a host was asked for, but the cluster has no GPU; use --gpus-per-host 0")
    if gpus > have.gpus:
        raise ClusterError(
            f"{gpus:g} GPUs a host were asked for, but the cluster has {have.gpus:g}; ask for at most that"
        )
    servers = 0
    if placement == "pooled":
        servers = 1 if protocol.server == "shared" else (want.servers or max(1, have.cpus // 4))
    if protocol.client_sync == "one_party" or protocol.client_sync == "handover":
        most, reason = 1, "clients of this protocol train one after another"
    elif protocol.published.replicas_meet == "all_collected" and protocol.server == "replicas":
        most, reason = 1, "its replicas meet in the middle of a round"
    elif protocol.server == "shared" and placement == "colocated":
        most, reason = 1, "a shared server portion lives in one process"
    else:
        most, reason = scenario.group_count, f"a cohort has {counted(scenario.group_count, 'client group')}"
    # On a few cores a server that reserved one would idle while clients wait, or the reverse: let the system share
    # them.
    reserved = servers if have.cpus >= 8 else 0
    available = int(have.gpus / gpus + 1e-9) - servers if gpus > 0 else have.cpus - reserved
    hosts = want.hosts if want.hosts is not None else max(1, min(available, most))
    if hosts < 1:
        raise ClusterError(f"--hosts must be at least 1, but it is {hosts}")
    if want.hosts is not None and hosts > most:
        hosts, why = most, f"{why}; {want.hosts} hosts were asked for, but {reason}"
    return Layout(hosts, servers, placement, gpus, why, int(have.cpus >= 8), want.shards)


def _placement(scenario: Scenario, want: Wanted) -> tuple[Literal["pooled", "colocated"], str]:
    protocol = scenario.protocol
    if protocol.server == "none":
        if want.placement == "pooled":
            raise ClusterError(f"{type(protocol).__name__} has no server portion to pool; use --placement colocated")
        return "colocated", "the model is not cut"
    if protocol.topology.kind != "pair":
        if want.placement == "pooled":
            raise ClusterError(
                f"the parties of {type(protocol).__name__} are played by one host, beside their servers; use "
                "--placement colocated"
            )
        return "colocated", "one host plays all parties"
    if protocol.published.tested == "in_training":
        if want.placement == "pooled":
            raise ClusterError(
                f"{type(protocol).__name__} as published tests clients while it trains, beside the server portion; "
                "use --placement colocated"
            )
        return "colocated", "clients are tested while they train"
    if want.placement != "auto":
        return want.placement, "as asked"
    if protocol.server == "shared" and protocol.client_sync in ("averaging", "personal"):
        return "pooled", "one shared server portion; clients compute ahead of it"
    return "colocated", "no party looks at the wire, so the server portion runs beside its clients"
