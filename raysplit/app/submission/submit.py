"""Submitting a scenario file: checked here, uploaded, and started on the cluster under a name of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from raysplit.app.running.engine_choice import EngineChoice, check_choice
from raysplit.app.running.runner import jobs_from
from raysplit.app.submission.attempts import STOP_WAIT_S, Attempt, metadata, newest, ray_id
from raysplit.app.submission.entry import ENTRYPOINT
from raysplit.app.submission.installed import installed
from raysplit.app.submission.order import Order, job_name, runs_folder
from raysplit.app.submission.package import packed
from raysplit.engine.ray.jobs import RayJobs
from raysplit.errors import ClusterError, ScenarioError
from raysplit.scenario.layout import Layout
from raysplit.scenario.network_check import check_network
from raysplit.simulation.shard_checks import check_shards


@dataclass(frozen=True)
class Checked:
    """An order whose scenarios were built here, and the module that they live in."""

    order: Order
    module: ModuleType


def checked(
    file: Path, sets: list[str], only: list[str] | None, sweep: bool, keep_state: bool, choice: EngineChoice, store: str
) -> Checked:
    """What is to be submitted. Raises a sentence for whatever is wrong with it and can be known without the cluster and
    its data; those the job looks at before it trains."""
    check_choice(choice)
    if not store.startswith(("/", "~/")):
        raise ScenarioError(f"--store must be a folder on the cluster, from / or ~/ on, but it is {store!r}")
    jobs = jobs_from(file, runs_folder(store, "job"), sets, only)
    for job in jobs:
        check_shards(job.scenario, choice.shards)
        check_network(job.scenario, Layout(job.scenario))
    module = jobs[0].module
    assert module is not None, "it comes from a file"
    order = Order(
        job=job_name(file, [job.scenario for job in jobs], sweep),
        file=file.name,
        scenarios={job.scenario.name: job.scenario.hash for job in jobs},
        sets=sets,
        only=only,
        sweep=sweep,
        keep_state=keep_state,
        choice=choice,
        store=store,
        versions=installed(),
    )
    return Checked(order, module)


def submit(what: Checked, cluster: RayJobs, data: str | None = None) -> Attempt:
    """Start the next attempt of a job: what an earlier one has done is kept, and gone on with.

    ``data``: where prepared populations lie on the cluster's nodes. Raises ``ClusterError`` where the job is under way.
    """
    order = what.order
    before = newest(cluster.listed()).get(order.job)
    if before is not None and not before.ray.ended:
        raise ClusterError(
            f"job {order.job} is under way on {cluster.address} already; follow it with 'raysplit attach {order.job}', "
            f"or end it with 'raysplit cancel {order.job}'"
        )
    if before is not None and before.store != order.store:
        raise ClusterError(
            f"job {order.job} has its runs in {before.store} on the cluster, not in {order.store}; submit it with --store "
            f"{before.store}"
        )
    number = 1 if before is None else before.number + 1
    id = ray_id(order.job, number)
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)} | ({} if data is None else {"RAYSPLIT_DATA": data})
    about = metadata(order.job, number, order.store, order.file, len(order.scenarios))
    with packed(order, what.module) as folder:
        cluster.submit(id, f"{ENTRYPOINT}-m raysplit.app.submission.entry", about, folder, variables)
    return Attempt(order.job, number, order.store, order.file, len(order.scenarios), cluster.get(id))
