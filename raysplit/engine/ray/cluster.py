"""Joining or starting a Ray cluster, bounded and quiet, and leaving nothing behind."""

from __future__ import annotations

import copyreg
import importlib
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import ray
import torch

from raysplit.engine.placement import Resources
from raysplit.engine.ray.own_cluster import LOOPBACK, DriverPath, on_loopback, output_kept, signals_kept
from raysplit.engine.ray.session_folder import session_folder
from raysplit.errors import ClusterError
from raysplit.scenario.scenario import Scenario

QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
_ATTEMPTS = "RAY_gcs_server_port_wait_time_s"
START_TIMEOUT_S = 180.0
"""How long an actor may take to find room and to get ready."""
MEGABYTE = 1 << 20


class NoCluster(ClusterError):
    """No cluster answered where one was to be; a busy one may the next time."""


def object_store_bytes(scenario: Scenario, portion_bytes: int, shards: int = 1) -> int:
    """Room for two rounds' worth of gathered portions (or partial sums) and global weights; at least 256 MB.

    Portions that go to column ``shards`` never lie there.
    """
    rows = scenario.group_count + 8 + (scenario.cohort.size if shards == 1 else 0)
    if scenario.protocol.server == "replicas":
        rows += scenario.cohort.size
    if scenario.protocol.client_sync == "personal":  # their portions go to hosts, too, for training and for evaluation
        rows += scenario.cohort.size + (scenario.evaluation.clients or 0)
    return max(256 * MEGABYTE, 2 * rows * portion_bytes)


@contextmanager
def connect(address: str | None, object_store: int, cpus: int | None = None) -> Iterator[Resources]:
    """A cluster for the length of a ``with``: the one at ``address`` (``"auto"``: the running one), or one started
    here.

    A cluster that is started here has no dashboard, a bounded object store, listens on the loopback interface alone,
    and is shut down at the end. Raises ``NoCluster`` where no cluster answers at ``address``.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    with ExitStack() as stack:
        folder = stack.enter_context(session_folder()) if address is None else None
        stack.enter_context(output_kept())
        stack.callback(ray.shutdown)  # also where a signal, or an error, came while Ray started
        try:
            with signals_kept():
                if folder is not None:
                    _start(folder, object_store, cpus or os.cpu_count() or 1)
                else:
                    with _few_attempts():
                        ray.init(address=address, job_config=DriverPath(), **QUIET)
        except (ConnectionError, RuntimeError, ValueError) as error:
            where = "here" if address is None else f"at {address!r}"
            raise NoCluster(
                f"no Ray cluster {where} ({str(error).strip().splitlines()[0]}); start one with 'ray start --head' or "
                "leave --address out"
            ) from error
        total = ray.cluster_resources()
        nodes = sum(node["Alive"] for node in ray.nodes())
        yield Resources(int(total.get("CPU", 0)), float(total.get("GPU", 0)), nodes)


@contextmanager
def _few_attempts() -> Iterator[None]:
    """Ray asks a cluster that does not answer 20 times, for some 40 s each, in silence; twice is enough, unless the user
    says otherwise by Ray's own variable."""
    if _ATTEMPTS in os.environ:
        yield
        return
    os.environ[_ATTEMPTS] = "2"
    try:
        yield
    finally:
        del os.environ[_ATTEMPTS]


def _start(folder: Path, object_store: int, cpus: int) -> None:
    """A cluster of this machine alone, for this process alone."""
    with on_loopback():
        ray.init(
            num_cpus=cpus,
            include_dashboard=False,
            object_store_memory=_fitting(object_store),
            job_config=DriverPath(),
            _node_ip_address=LOOPBACK,
            _temp_dir=str(folder),
            **QUIET,
        )


def by_value(module: ModuleType) -> None:
    """Send the classes of a user's scenario file to hosts by value: the file need not exist there."""
    # Where code names ``torch`` and an attribute ``classes`` or ``ops``, cloudpickle takes torch's pseudo-modules
    # along.
    for pseudo in (torch.classes, torch.ops):
        copyreg.pickle(type(pseudo), _by_name)
    ray.cloudpickle.register_pickle_by_value(module)


def _by_name(module: ModuleType) -> tuple[Any, tuple[str]]:
    return importlib.import_module, (module.__name__,)


def free_resources() -> str:
    """What of the cluster is free, for a sentence."""
    free = sorted(ray.available_resources().items())
    return ", ".join(f"{count:g} {name}" for name, count in free if name in ("CPU", "GPU")) or "nothing"


def _fitting(wanted: int) -> int:
    """No more than 80 % of free shared memory, which Ray would otherwise replace by a slow folder on disk."""
    try:
        stat = os.statvfs("/dev/shm")
    except OSError:
        return wanted
    free = stat.f_bavail * stat.f_frsize
    return max(80 * MEGABYTE, min(wanted, int(0.8 * free)))
