"""What a user sees of the jobs of a cluster, and of ending one: without torch, so at once."""

from __future__ import annotations

import dataclasses
import json

from rich.console import Console
from rich.table import Table

from raysplit.app.submission.attempts import STOP_WAIT_S, named
from raysplit.app.submission.listing import LINES, entry, listed
from raysplit.engine.ray.jobs import RayJobs
from raysplit.errors import ClusterError


def show_jobs(address: str, as_json: bool) -> None:
    rows = listed(RayJobs(address, to_stderr))
    if as_json:
        for row in rows:
            print(json.dumps(dataclasses.asdict(row), sort_keys=True))
        return
    console = Console(soft_wrap=True, highlight=False)
    if not rows:
        console.print("No jobs of RaySplit.")
        return
    table = Table("job", "status", "scenario", "round", "runs on the head", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row.job, row.status, row.scenario, row.round, row.folder)
    console.print(table)


def cancel_job(job: str, address: str) -> None:
    console = Console(soft_wrap=True, highlight=False)
    cluster = RayJobs(address, to_stderr)
    attempt = named(job, cluster.listed(), address)
    if attempt.ray.ended:
        raise ClusterError(f"job {job} has ended already ({attempt.ray.status.lower()}); there is nothing to cancel")
    cluster.stop(attempt.ray.id)
    console.print(f"{job} finishes its checkpoint ...", markup=False)
    if not cluster.wait(attempt.ray.id, STOP_WAIT_S + 30).ended:
        raise ClusterError(f"job {job} does not end; see 'ray job logs {attempt.ray.id}'")
    at = entry(attempt, cluster.last_lines(attempt.ray, LINES))
    where = f" at round {at.round} of {at.scenario}" if at.round else " before its first round"
    console.print(
        f"{job} is cancelled{where}; 'raysplit submit {attempt.file}', as before, goes on from there, and 'raysplit fetch "
        f"{job}' brings what there is",
        markup=False,
    )


def to_stderr(text: str) -> None:
    Console(stderr=True, soft_wrap=True, highlight=False).print(text, markup=False)
