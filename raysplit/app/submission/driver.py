"""The driver of a job on the cluster's head: does what is left of the order, and tells it as events.

What is there goes on from its newest checkpoint, what is not starts, what has ended is passed over: so a job may be
started any number of times, by whatever brings it back.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from raysplit.analysis.report.variant import report_name
from raysplit.app.running.engine_choice import EngineChoice
from raysplit.app.running.events import begin_event, end_event, round_event
from raysplit.app.running.interruption import INTERRUPTED, answer_signals
from raysplit.app.running.report import write_report_of
from raysplit.app.running.runner import Ended, Failed, Job, Watch, attempt_all, jobs_from, run_all
from raysplit.app.submission.log_lines import write
from raysplit.app.submission.order import FILE, FOLDER, Order
from raysplit.engine.ray.cluster import NoCluster
from raysplit.errors import ScenarioError, UserError, counted

MISTAKE, USER_ERROR, SOME_FAILED = 1, 2, 3
CONNECTS = 5


def main() -> int:
    _end_with_parent()
    answer_signals()
    order = Order.from_json((Path(FOLDER) / FILE).read_text())
    stopped: tuple[str, int]
    try:
        return connected(
            lambda: play(order, Path(FOLDER) / order.file, replace(order.choice, address=os.environ["RAY_ADDRESS"]))
        )
    except KeyboardInterrupt:
        stopped = ("interrupted; what was done up to the last complete round is kept", INTERRUPTED)
    except UserError as error:
        stopped = (str(error), USER_ERROR)
    except Exception as error:
        sys.stderr.write(getattr(error, "trace", "") or traceback.format_exc())
        stopped = (f"{type(error).__name__}: {error}", MISTAKE)
    write({"event": "stopped", "sentence": " ".join(stopped[0].split()), "code": stopped[1]})
    return stopped[1]


def connected(play: Callable[[], int], pause_s: float = 5.0) -> int:
    """Play, and where the cluster does not answer try again: it is there, since it started this process, but a busy head
    may keep a new driver waiting for longer than Ray does."""
    for _ in range(CONNECTS - 1):
        try:
            return play()
        except NoCluster:
            time.sleep(pause_s)
    return play()


def play(order: Order, file: Path, choice: EngineChoice) -> int:
    """Do what is left of an order; the exit code. Raises what the scenarios and the cluster make of it."""
    jobs = jobs_from(file, order.folder, order.sets, order.only, keep_state=order.keep_state)
    check_same(order, jobs)
    order.folder.mkdir(parents=True, exist_ok=True)
    name = report_name(Path(order.file), order.sets, order.only)
    if order.sweep:
        return _sweep(order, jobs, choice, name)
    for ended in run_all(jobs, choice, following(jobs), "continue"):
        write(end_event(ended))
    write_report_of([job.folder.path for job in jobs], order.folder / f"report-{name}.html", _say)
    return 0


def check_same(order: Order, jobs: list[Job]) -> None:
    """Raise ``ScenarioError`` where a scenario is another one here than where it was submitted."""
    for job in jobs:
        here, there = job.scenario.hash, order.scenarios.get(job.scenario.name)
        if here != there:
            raise ScenarioError(
                f"scenario {job.scenario.name!r} was submitted as {there} but is {here} on the cluster; a file that it "
                "names has another content there, or Python or a library reads it otherwise: put the same file there, "
                "or install the same versions"
            )


def following(jobs: list[Job]) -> Callable[[Job], AbstractContextManager[Watch]]:
    """What ``run_all`` follows jobs with: events in the log."""

    @contextmanager
    def follow(job: Job) -> Iterator[Watch]:
        started = time.monotonic()
        number = 1 + [other.folder for other in jobs].index(job.folder)
        write({"event": "scenario", "name": job.scenario.name, "number": number, "of": len(jobs)})
        yield Watch(
            lambda job, info, layout, done: write(begin_event(job, info, layout, done, time.monotonic() - started)),
            lambda report: write({**round_event(report), "name": job.scenario.name}),
        )

    return follow


def _sweep(order: Order, jobs: list[Job], choice: EngineChoice, name: str) -> int:
    """As ``raysplit sweep``: a scenario that fails does not stop the others, and the report has all."""
    from raysplit.analysis.report.sweep import outcomes
    from raysplit.analysis.report.sweep_page import write_sweep

    failed: dict[Path, str] = {}
    for outcome in attempt_all(jobs, choice, following(jobs)):
        if isinstance(outcome, Failed):
            failed[outcome.folder.path] = outcome.why
            sys.stderr.write(outcome.trace)
            write({"event": "failed", "run": str(outcome.folder.path), "why": outcome.why})
        elif isinstance(outcome, Ended):
            write(end_event(outcome))
    found = outcomes([(job.scenario, job.folder.path, failed.get(job.folder.path, "")) for job in jobs])
    _say(f"Report: {write_sweep(name, found, order.folder / f'sweep-{name}')}")
    if not failed:
        return 0
    sentence = (
        f"{len(failed)} of {counted(len(jobs), 'scenario')} failed; the same submitted again tries them once more"
    )
    write({"event": "stopped", "sentence": sentence, "code": SOME_FAILED})
    return SOME_FAILED


def _say(text: str) -> None:
    write({"event": "note", "sentence": text})


def _end_with_parent() -> None:
    """A driver whose keeper was killed ends as if it were asked to: nobody would answer for it."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
