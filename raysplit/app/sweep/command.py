"""The work behind ``raysplit sweep``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from raysplit.analysis.report.sweep import outcomes
from raysplit.analysis.report.sweep_page import write_sweep
from raysplit.analysis.report.sweep_terminal import sweep_tables
from raysplit.analysis.report.variant import report_name
from raysplit.app.running.engine_choice import EngineChoice
from raysplit.app.running.runner import Ended, Failed, Job, attempt_all
from raysplit.app.sweep.expected_time import Clock
from raysplit.app.sweep.live import SweepLive
from raysplit.app.sweep.plan import Step, ended_runs, estimate, expected_seconds, plan, plan_table, summary
from raysplit.app.sweep.side_by_side import Origin, run_side_by_side
from raysplit.app.sweep.traces import TRACES, with_trace_kept
from raysplit.errors import ScenarioError

Instead = Literal["plan", "report"] | None
"""What is done instead of training: the plan is shown, or only the report written."""


def sweep(
    file: Path,
    out: Path,
    sets: list[str],
    only: list[str] | None,
    choice: EngineChoice,
    processes: int,
    instead: Instead = None,
    keep_state: bool = False,
) -> int:
    """Do what is left of a file's scenarios and write their report; returns how many failed."""
    check_processes(processes, choice)
    origin = Origin(file, out, sets, only, ended_runs(out), keep_state)
    jobs = origin.jobs()
    steps = plan(jobs)
    left = [step.job for step in steps if not step.ended]
    name = report_name(file, sets, only)
    live, folder = SweepLive(len(left)), out / f"sweep-{name}"
    if instead == "plan":
        show_plan(steps, choice, processes, live)
        return 0
    live.say(summary(steps))
    failed = {} if instead == "report" else play_jobs(origin, left, choice, processes, live, folder)
    found = outcomes([(job.scenario, job.folder.path, failed.get(job.folder.path, "")) for job in jobs])
    written = write_sweep(name, found, folder)
    say_failed(jobs, failed, live)
    for titled in sweep_tables(found):
        live.say(f"\n{titled.title}")
        live.show(titled.table)
        for note in titled.notes:
            live.say(note)
    live.say(f"Report: {written.resolve()}")
    return len(failed)


def check_processes(processes: int, choice: EngineChoice) -> None:
    """Raise ``ScenarioError`` for scenarios side by side on Ray."""
    if processes > 1 and choice.engine != "local":
        raise ScenarioError(
            "--jobs gives each scenario a process of its own, so it needs --engine local; on Ray one scenario takes "
            "all hosts"
        )


def show_plan(steps: list[Step], choice: EngineChoice, processes: int, live: SweepLive) -> None:
    """What is to be trained, what is shared, and the time it may take."""
    clock = Clock(choice)
    expected = expected_seconds(steps, clock)
    live.show(plan_table(steps, expected))
    live.say(summary(steps))
    live.say(
        estimate([time for time, step in zip(expected, steps, strict=True) if not step.ended], processes, clock.cpus)
    )


def play_jobs(
    origin: Origin, jobs: list[Job], choice: EngineChoice, processes: int, live: SweepLive, folder: Path
) -> dict[Path, str]:
    """Do what is left of jobs, some of the origin's; why those failed that did, by their run folders. Tracebacks go into
    ``folder``."""
    failed: dict[Path, str] = {}
    by_folder = {job.folder.path: job for job in jobs}
    with live.shown():
        for outcome in _played(origin, jobs, choice, processes, live):
            job = by_folder[outcome.folder.path]
            ended = with_trace_kept(outcome, folder / TRACES / f"{job.scenario.name}.txt")
            live.ended(job, ended)
            if isinstance(ended, Failed):
                failed[ended.folder.path] = ended.why
    return failed


def say_failed(jobs: list[Job], failed: Mapping[Path, str], live: SweepLive) -> None:
    """A line for each that failed."""
    for job in jobs:
        if job.folder.path in failed:
            live.say(f"failed: {job.scenario.name}: {failed[job.folder.path]}")


def _played(
    origin: Origin, jobs: list[Job], choice: EngineChoice, processes: int, live: SweepLive
) -> Iterator[Ended | Failed]:
    if processes > 1:
        return run_side_by_side(origin, jobs, processes, live.following)
    return attempt_all(jobs, choice, live.following)
