"""What a sweep has before it: of each scenario what is done, what is shared, and what is left to train."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.table import Table

from raysplit.app.running.runner import Job
from raysplit.errors import RunError
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


def plan_table(steps: list[Step]) -> Table:
    """For a terminal."""
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, pad_edge=False)
    shown.add_column("scenario", overflow="fold")
    shown.add_column("state", no_wrap=True)
    for head in ("rounds", "done", "shared", "to train"):
        shown.add_column(head, justify="right", no_wrap=True)
    shown.add_column("shared with", overflow="fold")
    for step in steps:
        figures = (step.rounds, step.done, step.shared, step.left)
        shown.add_row(step.job.scenario.name, step.state, *(str(figure) for figure in figures), step.source)
    return shown


def summary(steps: list[Step]) -> str:
    """One sentence on all of it."""
    rounds, left = sum(step.rounds for step in steps), sum(step.left for step in steps)
    ended = sum(step.ended for step in steps)
    shared = sum(step.shared for step in steps)
    return (
        f"{len(steps)} scenarios, {ended} of them ended; {rounds:,} rounds in all, of which {shared:,} are shared "
        f"with another scenario; {left:,} to train"
    )
