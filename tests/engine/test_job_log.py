"""A job's log is read from its first line to its last, whatever happens to the connection."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from raysplit.engine.ray import jobs
from raysplit.engine.ray.jobs import RayJobs
from raysplit.errors import ClusterError

LINES = [f"line {number} äöü" * (number % 5) for number in range(40)]
TEXT = "\n".join(LINES)


class Client:
    """Ray's client, with a log that breaks off in other places each time it is opened: by an error, by a close, or by
    silence."""

    def __init__(self, breaks: list[tuple[int, str]]) -> None:
        self.breaks = breaks
        self.opened = 0
        self.away = False

    async def tail_job_logs(self, id: str) -> AsyncIterator[str]:
        self.opened += 1
        end, how = self.breaks.pop(0) if self.breaks else (len(TEXT), "close")
        at, chance = 0, random.Random(self.opened)
        while at < end:
            step = min(chance.randrange(1, 30), end - at)
            yield TEXT[at : at + step]
            at += step
        if how == "error":
            raise RuntimeError("WebSocket connection closed unexpectedly")
        if how == "silence":
            await asyncio.sleep(60)

    def get_job_info(self, id: str) -> SimpleNamespace:
        if self.away:
            raise ConnectionError("no route to host")
        # It may end while its log is not being read; a log that Ray closes when the job had ended is whole.
        ended = not self.breaks or (self.opened > 2 and self.breaks[0][1] != "close")
        status = "SUCCEEDED" if ended else "RUNNING"
        return SimpleNamespace(
            submission_id=id, status=status, message="", metadata={}, start_time=0, driver_node_id=None
        )


def cluster(client: Client) -> RayJobs:
    made = RayJobs.__new__(RayJobs)
    made._client, made.address, made._has_token = client, "http://head:8265", True
    return made


@pytest.mark.parametrize("how", ["error", "close", "silence"])
def test_a_log_that_breaks_off_goes_on_with_the_next_character(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "SILENT_S", 0.05)
    monkeypatch.setattr(jobs, "time", SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: None))
    client = Client([(7, how), (0, how), (100, how), (99, how), (len(TEXT) - 1, how)])
    assert list(cluster(client).log("a")) == LINES
    assert client.opened == 6


def test_a_dashboard_that_stays_away_is_given_up_and_one_that_is_quiet_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    waiting = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + 10))
    monkeypatch.setattr(jobs, "time", waiting)
    away = Client([])
    away.away = True
    with pytest.raises(ClusterError, match="no route to host"):
        list(cluster(away).log("a"))
    assert jobs.GONE_S < now[0] <= jobs.GONE_S + 20
    monkeypatch.setattr(jobs, "SILENT_S", 0.001)
    quiet = Client([(5, "silence")] * 50)
    assert list(cluster(quiet).log("a")) == LINES and quiet.opened == 51


@pytest.mark.parametrize(
    ("answer", "asked"), [("500: No available agent to submit job", 3), ("400: Job with submission_id a exists", 1)]
)
def test_a_head_that_has_only_just_started_is_waited_for(
    answer: str, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "time", SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: None))
    client, calls = Client([]), []

    def submit_job(**what: object) -> None:
        calls.append(what)
        if len(calls) < 3:
            raise RuntimeError(f"Request failed with status code {answer}.")

    monkeypatch.setattr(client, "submit_job", submit_job, raising=False)
    if asked == 1:
        with pytest.raises(ClusterError, match=r"refused \(Request failed with status code 400"):
            cluster(client).submit("a", "true", {})
    else:
        cluster(client).submit("a", "true", {})
    assert len(calls) == asked
