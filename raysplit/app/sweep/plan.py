"""What a sweep has before it: of each scenario what is done, what is shared, and what is left to train."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.table import Table

from raysplit.analysis.report.numbers import seconds
from raysplit.app.running.runner import Job
from raysplit.app.sweep.expected_time import Clock
from raysplit.errors import RunError, counted
from raysplit.simulation.shared_rounds import Form
from raysplit.storage.checkpoints import newest_checkpoint
from raysplit.storage.run_folder import RunFolder, environment


def ended_runs(out: Path) -> dict[Path, Form]:
    """Runs under ``out`` that have ended, of this or another file, with their scenarios: what others may take rounds
    over from.

    Only those of this machine and these versions, on which their bits depend.
    """
    here = environment()
    found = {}
    for path in sorted(out.glob("*-??????????")):
        try:
            folder = RunFolder(path)
            there = json.loads((path / "environment.json").read_text())
            alike = all(there[name] == here[name] for name in ("python", "system", "processor", "packages"))
            if alike and folder.state().get("status") in ("finished", "diverged"):
                found[path] = json.loads((path / "scenario.json").read_text())
        except (OSError, ValueError, KeyError, RunError):
            continue  # no run, or a damaged one: nobody forks from it
    return found


@dataclass(frozen=True)
class Step:
    """One job. ``state``: finished, diverged, unfinished or new. ``shared``: its first rounds, which the run ``source``
    trains for it."""

    job: Job
    state: str
    rounds: int
    done: int
    shared: int
    source: str

    @property
    def ended(self) -> bool:
        return self.state in ("finished", "diverged")

    @property
    def left(self) -> int:
        """Rounds that are still to be trained."""
        return 0 if self.ended else self.rounds - max(self.done, self.shared)


def plan(jobs: list[Job]) -> list[Step]:
    """The steps of jobs in their order. Raises ``RunError`` where a run folder is damaged."""
    return [_step(job) for job in jobs]


def _step(job: Job) -> Step:
    state = job.folder.state()
    status = str(state.get("status", "new"))
    newest = newest_checkpoint(job.folder.checkpoints)
    done = 0 if newest is None else int(newest.name.rsplit("-", 1)[1])
    if status not in ("finished", "diverged"):
        status = "unfinished" if done else "new"
    fork = job.forks[0] if job.forks else None
    shared, source = (0, "") if fork is None else (fork.rounds, fork.folder.path.name)
    return Step(job, status, job.scenario.training.rounds, done, shared, source)


def plan_table(steps: list[Step], expected: Sequence[float | None]) -> Table:
    """For a terminal. ``expected``: seconds that each step may take."""
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, pad_edge=False, collapse_padding=True)
    shown.add_column("scenario", no_wrap=True)
    shown.add_column("state", no_wrap=True)
    for head in ("rounds", "done", "shared", "to train", "about"):
        shown.add_column(head, justify="right", no_wrap=True)
    shown.add_column("shared with", no_wrap=True)
    names = {step.job.folder.path.name: step.job.scenario.name for step in steps}
    for step, duration in zip(steps, expected, strict=True):
        figures = (step.rounds, step.done, step.shared, step.left)
        time = "" if step.ended else seconds(duration)
        source = names.get(step.source, step.source)  # a run of another file has only a folder
        shown.add_row(step.job.scenario.name, step.state, *(str(figure) for figure in figures), time, source)
    return shown


def expected_seconds(steps: list[Step], clock: Clock) -> list[float | None]:
    """What each step may take; None where nothing is known. Runs that have trained rounds are listened to first."""
    clock.heard((step.job.scenario, step.job.folder) for step in steps)
    each = [0.0 if step.ended else clock.round_s(step.job.scenario) for step in steps]
    return [None if one is None else one * step.left for step, one in zip(steps, each, strict=True)]


def summary(steps: list[Step]) -> str:
    """One sentence on all of it."""
    rounds, left = sum(step.rounds for step in steps), sum(step.left for step in steps)
    ended = sum(step.ended for step in steps)
    shared = sum(step.shared for step in steps)
    return (
        f"{counted(len(steps), 'scenario')}, {ended} of them ended; {counted(rounds, 'round')} in all, of which "
        f"{shared:,} {'is' if shared == 1 else 'are'} shared with another scenario; {left:,} to train"
    )


def estimate(expected: Sequence[float | None], processes: int, cpus: int) -> str:
    """One sentence on how long it may take, ``processes`` scenarios side by side."""
    known = [duration for duration in expected if duration is not None]
    if not known:
        return "How long that takes cannot be told from here"
    side_by_side = max(1, min(processes, cpus, len(known)))
    missing = len(expected) - len(known)
    return (
        f"About {seconds(sum(known) / side_by_side)} on this machine, by rounds that were trained here or else by a "
        "split step timed just now; attacks, rules and the start of engines not counted"
        + (f"; nothing known of {counted(missing, 'scenario')}" if missing else "")
    )
