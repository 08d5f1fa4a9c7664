"""The jobs of a cluster that RaySplit submitted: a job's name stands for all of its attempts, of which Ray knows each
as a job of its own. Nothing about them is kept on the machine that submits, so any machine may follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raysplit.engine.ray.jobs import RayJob
from raysplit.errors import ClusterError, nearest

JOB, ATTEMPT, STORE, FILE, SCENARIOS = (
    "raysplit_job",
    "raysplit_attempt",
    "raysplit_store",
    "raysplit_file",
    "raysplit_scenarios",
)
"""What Ray keeps of an attempt beside its status."""

STOP_WAIT_S = 600
"""Ray kills a job that it has told to stop after so long; by itself it would after 3 s, in the midst of a round."""


@dataclass(frozen=True)
class Attempt:
    """``number``: from 1 on, for each time that the job was submitted to this cluster. ``scenarios``: how many."""

    job: str
    number: int
    store: str
    file: str
    scenarios: int
    ray: RayJob


def ray_id(job: str, number: int) -> str:
    """Ray takes an id once only."""
    return f"raysplit-{job}-{number}"


def metadata(job: str, number: int, store: str, file: str, scenarios: int) -> dict[str, str]:
    return {JOB: job, ATTEMPT: str(number), STORE: store, FILE: file, SCENARIOS: str(scenarios)}


def attempts(jobs: Sequence[RayJob]) -> list[Attempt]:
    """Those of RaySplit among the jobs of a cluster, in their order."""
    found = []
    for job in jobs:
        said = job.metadata
        if JOB in said and said.get(ATTEMPT, "").isdecimal():
            count = said.get(SCENARIOS, "")
            scenarios = int(count) if count.isdecimal() else 1
            found.append(Attempt(said[JOB], int(said[ATTEMPT]), said[STORE], said.get(FILE, ""), scenarios, job))
    return found


def newest(jobs: Sequence[RayJob]) -> dict[str, Attempt]:
    """The newest attempt of each job."""
    return {attempt.job: attempt for attempt in sorted(attempts(jobs), key=lambda attempt: attempt.number)}


def named(job: str, jobs: Sequence[RayJob], address: str) -> Attempt:
    """The newest attempt of one job. Raises ``ClusterError`` where the cluster knows none."""
    found = newest(jobs)
    if job in found:
        return found[job]
    hint = f"; {nearest(job, found)}" if found else ""
    raise ClusterError(
        f"the cluster at {address!r} knows no job {job!r}{hint} (a cluster that was started anew has forgotten its jobs, "
        "not their runs: submit the same file again, and it goes on from the newest checkpoint)"
    )
