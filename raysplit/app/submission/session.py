"""What a user sees of submitting, following and fetching a job."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from raysplit.app.running.interruption import INTERRUPTED, Stopped
from raysplit.app.running.live import Live
from raysplit.app.submission.attempts import Attempt, named
from raysplit.app.submission.fetch import fetch
from raysplit.app.submission.follow import Followed, follow
from raysplit.app.submission.overview import to_stderr
from raysplit.app.submission.submit import Checked, submit
from raysplit.engine.ray.jobs import JobUnknown, RayJobs
from raysplit.errors import ClusterError

AGAIN = 3
"""Times that a job is submitted anew, while it is followed, because the cluster lost it."""


def submit_and_follow(what: Checked, address: str, data: str | None, detach: bool, as_json: bool) -> None:
    """Submit, and show the job until it ends; where its head dies under it, submit again what is left."""
    live = Live(as_json, len(what.order.scenarios))
    cluster = RayJobs(address, live.say)
    attempt = submit(what, cluster, data)
    _say_submitted(live, attempt, cluster)
    if detach:
        return
    for lost in range(1, AGAIN + 1):
        try:
            followed = _followed(attempt, cluster, live)
            ended = cluster.get(attempt.ray.id)
            if ended.status != "FAILED" or followed.code is not None:
                return _leave(attempt, ended.status, followed, ended.message)
        except JobUnknown:
            ended = None
        if lost == AGAIN:
            break
        why = "started anew and has forgotten the job" if ended is None else f"lost the job ({_short(ended.message)})"
        live.say(f"  the cluster {why}; submitted again, from the newest checkpoint on")
        attempt = submit(what, cluster, data)
    raise ClusterError(
        f"job {attempt.job} was lost {AGAIN} times on {address}; see 'ray job logs {attempt.ray.id}' and submit the file "
        "again when the cluster stands"
    )


def attach_to(job: str, address: str, as_json: bool) -> None:
    cluster = RayJobs(address, to_stderr)
    attempt = named(job, cluster.listed(), address)
    live = Live(as_json, attempt.scenarios)
    followed = _followed(attempt, cluster, live)
    ended = cluster.get(attempt.ray.id)
    _leave(attempt, ended.status, followed, ended.message)


def fetch_job(job: str, address: str, out: Path, overwrite: bool) -> None:
    console = Console(soft_wrap=True, highlight=False)
    cluster = RayJobs(address, to_stderr)
    attempt = named(job, cluster.listed(), address)
    columns = TextColumn("  fetched"), BarColumn(bar_width=24), DownloadColumn(), TransferSpeedColumn()
    try:
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("", total=None)
            placed = fetch(
                attempt, cluster, out, overwrite, lambda here, total: bar.update(task, completed=here, total=total)
            )
    except KeyboardInterrupt:
        raise Stopped("interrupted; the same fetch again goes on from what is here", INTERRUPTED) from None
    for path in placed:
        console.print(f"{path}", markup=False)


def _say_submitted(live: Live, attempt: Attempt, cluster: RayJobs) -> None:
    goes_on = f" (attempt {attempt.number}: what is there goes on)" if attempt.number > 1 else ""
    live.say(f"{attempt.job}{goes_on}")
    live.print_json({"event": "submitted", "job": attempt.job, "attempt": attempt.number, "address": cluster.address})


def _followed(attempt: Attempt, cluster: RayJobs, live: Live) -> Followed:
    try:
        return follow(cluster.log(attempt.ray.id), live)
    except KeyboardInterrupt:
        raise Stopped(
            f"left; job {attempt.job} goes on without us: 'raysplit attach {attempt.job}' follows it again, 'raysplit "
            f"cancel {attempt.job}' ends it",
            INTERRUPTED,
        ) from None


def _leave(attempt: Attempt, status: str, followed: Followed, message: str) -> None:
    """End as the job did: nothing for success, else its sentence and its exit code."""
    if status == "SUCCEEDED":
        return
    if status == "STOPPED":
        raise Stopped(
            f"job {attempt.job} was cancelled; 'raysplit submit {attempt.file}', as before, goes on from its newest "
            "checkpoint",
            INTERRUPTED,
        )
    if followed.sentence and followed.code is not None:
        raise Stopped(followed.sentence, followed.code, _trace(followed) if followed.code == 1 else "")
    raise Stopped(
        f"job {attempt.job} failed without a word of its own ({_short(message)}); 'raysplit submit {attempt.file}', as "
        "before, goes on from its newest checkpoint",
        followed.code or 1,
        _trace(followed),
    )


def _trace(followed: Followed) -> str:
    return "\n".join([*followed.others, ""])


def _short(message: str) -> str:
    return next((line.strip() for line in message.splitlines() if line.strip()), "no reason given")[:200]
