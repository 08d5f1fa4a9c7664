"""The work behind ``raysplit sweep``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from raysplit.engine_choice import EngineChoice
from raysplit.errors import ScenarioError
from raysplit.report.sweep import outcomes, write_sweep
from raysplit.runner import Ended, Failed, Job, jobs_from, run_all
from raysplit.sweep.live import SweepLive
from raysplit.sweep.plan import plan, plan_table, summary
from raysplit.sweep.side_by_side import Origin, run_side_by_side


def sweep(
    file: Path, out: Path, sets: list[str], only: list[str] | None, choice: EngineChoice, processes: int, dry: bool
) -> int:
    """Do what is left of a file's scenarios and write their report; returns how many failed."""
    if processes > 1 and choice.engine != "local":
        raise ScenarioError(
            "--jobs gives each scenario a process of its own, so it needs --engine local; on Ray one scenario takes all hosts"
        )
    jobs = jobs_from(file, out, sets, only)
    steps = plan(jobs)
    live = SweepLive(len(jobs))
    if dry:
        Console().print(plan_table(steps))
        live.say(summary(steps))
        return 0
    live.say(summary(steps))
    failed: dict[Path, str] = {}
    by_folder = {job.folder.path: job for job in jobs}
    with live.shown():
        for ended in _played(Origin(file, out, sets, only), jobs, choice, processes, live):
            live.ended(by_folder[ended.folder.path], ended)
            if isinstance(ended, Failed):
                failed[ended.folder.path] = ended.why
    found = outcomes([(job.scenario, job.folder.path, failed.get(job.folder.path, "")) for job in jobs])
    written = write_sweep(file.stem, found, out / f"sweep-{file.stem}")
    for name, why in ((job.scenario.name, failed.get(job.folder.path)) for job in jobs):
        if why is not None:
            live.say(f"failed: {name}: {why}")
    live.say(f"Report: {written.resolve()}")
    return len(failed)


def _played(
    origin: Origin, jobs: list[Job], choice: EngineChoice, processes: int, live: SweepLive
) -> Iterator[Ended | Failed]:
    if processes > 1:
        return run_side_by_side(origin, jobs, processes, live.following)
    return run_all(jobs, choice, live.following, standing="keep")
