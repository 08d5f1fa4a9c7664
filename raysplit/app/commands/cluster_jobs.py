"""``raysplit submit``, ``jobs``, ``attach``, ``fetch`` and ``cancel``: runs on a Ray cluster that outlive whoever asked
for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raysplit.app.commands.options import (
    AsJson,
    Deadline,
    File,
    Gpus,
    Hosts,
    KeepState,
    Only,
    Out,
    PlacementName,
    Servers,
    Sets,
    Shards,
)

cluster_jobs_app = typer.Typer()
Dashboard = Annotated[
    str,
    typer.Option(
        "--address", envvar="RAYSPLIT_ADDRESS", help="The cluster's dashboard: http://head:8265, or $RAYSPLIT_ADDRESS."
    ),
]
JobName = Annotated[str, typer.Argument(help="A job's name, as 'raysplit submit' said it.", metavar="JOB")]
STORE = "~/raysplit-jobs"
"""Where runs lie on the cluster's head, in the home of the user whom Ray runs as: it outlives the job, and Ray."""
Store = Annotated[
    str, typer.Option("--store", help="The folder on the cluster's head that keeps runs; it outlives Ray.")
]


@cluster_jobs_app.command()
def submit(
    file: File,
    address: Dashboard,
    sets: Sets = None,
    only: Only = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="As 'raysplit sweep': go on after a scenario that failed; one report.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not follow the job; 'raysplit attach' does.")] = False,
    store: Store = STORE,
    data: Annotated[
        str | None, typer.Option("--data", help="Where prepared populations lie on every node ($RAYSPLIT_DATA there).")
    ] = None,
    hosts: Hosts = None,
    servers: Servers = None,
    placement: PlacementName = "auto",
    gpus_per_host: Gpus = None,
    shards: Shards = 1,
    deadline: Deadline = None,
    keep_state: KeepState = False,
    as_json: AsJson = False,
) -> None:
    """Run a file's scenarios on a Ray cluster, as a job that goes on without us; submitted again, it goes on."""
    from raysplit.app.running.engine_choice import EngineChoice
    from raysplit.app.submission.session import submit_and_follow
    from raysplit.app.submission.submit import checked

    choice = EngineChoice("ray", hosts, servers, placement, gpus_per_host, None, shards, deadline)
    what = checked(file, sets or [], only, sweep, keep_state, choice, store.rstrip("/"))
    submit_and_follow(what, address, data, detach, as_json)


@cluster_jobs_app.command()
def jobs(
    address: Dashboard,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a job, nothing else.")] = False,
) -> None:
    """The jobs that RaySplit has submitted to a cluster: status, scenario, round, and where the runs lie."""
    from raysplit.app.submission.overview import show_jobs

    show_jobs(address, as_json)


@cluster_jobs_app.command()
def attach(job: JobName, address: Dashboard, as_json: AsJson = False) -> None:
    """Follow a job, from anywhere; Ctrl-C leaves it running."""
    from raysplit.app.submission.session import attach_to

    attach_to(job, address, as_json)


@cluster_jobs_app.command()
def fetch(
    job: JobName,
    address: Dashboard,
    out: Out = Path("runs"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace runs that exist already.")] = False,
) -> None:
    """Bring a job's run folders and reports here; a fetch that broke off goes on where it was."""
    from raysplit.app.submission.session import fetch_job

    fetch_job(job, address, out, overwrite)


@cluster_jobs_app.command()
def cancel(job: JobName, address: Dashboard) -> None:
    """End a job, with a checkpoint of its last complete round."""
    from raysplit.app.submission.overview import cancel_job

    cancel_job(job, address)
