"""Bringing a job's runs back from the cluster, over its dashboard alone: readers print, their logs are streamed here."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

from raysplit.app.running.events import Event
from raysplit.app.submission import reader
from raysplit.app.submission.attempts import Attempt
from raysplit.app.submission.entry import ENTRYPOINT
from raysplit.app.submission.landing import Landing, remote_file
from raysplit.app.submission.log_lines import event_in
from raysplit.engine.ray.jobs import RayJobs
from raysplit.errors import ClusterError, RunError

QUOTA = 256 << 20
"""Bytes that one reader prints: as much, and a third more, lies in Ray's session folder on the head meanwhile."""
TRIES = 3
"""Readers in a row that bring nothing, before it is given up."""


def fetch(
    attempt: Attempt, cluster: RayJobs, out: Path, overwrite: bool, progress: Callable[[int, int], None]
) -> list[Path]:
    """Bring what a job has made into ``out``; returns the run folders and reports. Goes on where an earlier call broke
    off. ``progress`` is told how many bytes are here, and of how many.

    Raises ``ClusterError`` where the job is under way or has made nothing, ``RunError`` for files that are not what the
    cluster says they are.
    """
    if not attempt.ray.ended:
        raise ClusterError(
            f"job {attempt.job} is under way, and what it writes changes; wait for it ('raysplit attach {attempt.job}') or "
            f"end it ('raysplit cancel {attempt.job}') first"
        )
    root = f"{attempt.store}/{attempt.job}/runs"
    files = [remote_file(event) for event in _read(cluster, root, "") if event["event"] == "file"]
    if not files:
        raise ClusterError(f"job {attempt.job} has made no run folder in {root} on the cluster; see 'raysplit attach'")
    out.mkdir(parents=True, exist_ok=True)
    landing = Landing(out / f".fetch-{attempt.job}", files)
    total = sum(file.size for file in files)
    furthest, idle = -1, 0
    while missing := landing.missing():
        here = total - sum(file.size - landing.begun(file) for file in missing)
        furthest, idle = (here, 0) if here > furthest else (furthest, idle + 1)
        if idle == TRIES:
            raise RunError(
                f"{missing[0].path} of job {attempt.job} does not come as the cluster describes it; fetch again when "
                "nothing writes there"
            )
        for event in _read(cluster, root, landing.request(missing)):
            if event["event"] == "piece":
                progress(here, total)
                here += landing.take(event)
    progress(total, total)
    return landing.settle(out, overwrite)


def _read(cluster: RayJobs, root: str, wanted: str) -> Iterator[Event]:
    """What a reader prints, and its log wiped when that has come."""
    id = f"raysplit-fetch-{secrets.token_hex(6)}"
    source = Path(reader.__file__).read_text()
    command = f"{ENTRYPOINT}-c {shlex.quote(source)} {shlex.join([root, wanted, str(QUOTA)])}"
    cluster.submit(id, command, {})
    try:
        for line in cluster.log(id):
            event = event_in(line)
            if event is None:
                continue
            if event["event"] == "all":
                return
            if event["event"] == "absent":
                raise ClusterError(
                    f"there is no {event['folder']} on {event['host']}, the cluster's head; the job has written nothing, or "
                    "its head was another machine"
                )
            yield event
    finally:
        cluster.stop(id)
    raise ClusterError(f"the reader on the cluster's head ended early; see 'ray job logs {id}'")
