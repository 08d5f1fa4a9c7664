"""What the jobs of a cluster do, in a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from raysplit.app.submission.attempts import Attempt, newest
from raysplit.app.submission.log_lines import event_in
from raysplit.engine.ray.jobs import RayJobs

LINES = 40
"""Of the end of a log, where its newest round stands."""
WORDS = {
    "PENDING": "waiting",
    "RUNNING": "running",
    "SUCCEEDED": "finished",
    "STOPPED": "cancelled",
    "FAILED": "failed",
}


@dataclass(frozen=True)
class Listed:
    """One job: ``round`` as ``3/10``, empty before the first; ``folder``: where its runs lie on the head."""

    job: str
    status: str
    scenario: str
    round: str
    folder: str
    attempt: int


def listed(cluster: RayJobs) -> list[Listed]:
    """Every job of a cluster, oldest first, as its newest attempt stands."""
    found = sorted(newest(cluster.listed()).values(), key=lambda attempt: attempt.ray.started)
    return [entry(attempt, cluster.last_lines(attempt.ray, LINES)) for attempt in found]


def entry(attempt: Attempt, lines: list[str]) -> Listed:
    """One row, from the end of the newest attempt's log."""
    rounds, scenario = "", ""
    for event in filter(None, map(event_in, lines)):
        if event["event"] in ("scenario", "begin", "round"):
            scenario = str(event["name"])
            rounds = _round(event)
    status = WORDS.get(attempt.ray.status, attempt.ray.status.lower())
    return Listed(attempt.job, status, scenario, rounds, f"{attempt.store}/{attempt.job}/runs", attempt.number)


def _round(event: dict[str, Any]) -> str:
    if event["event"] == "begin":
        return f"{event['rounds_done']}/{event['of']}"
    return f"{event['round']}/{event['of']}" if event["event"] == "round" else ""
