"""What a user sees of a sweep: one bar over all scenarios and one for each that runs; in a log a line for each that has
ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from raysplit.analysis.report.terminal import print_whole
from raysplit.app.running.runner import Ended, Failed, Job, Watch
from raysplit.population.population import PopulationInfo
from raysplit.simulation.simulation import RoundReport


class SweepLive:
    """Follows the jobs of a sweep, several at a time."""

    def __init__(self, jobs: int) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._jobs, self._ended, self._began = jobs, 0, time.monotonic()
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._all = self._bars.add_task("scenarios", total=jobs)

    def say(self, text: str) -> None:
        self._console.print(text, markup=False)

    def show(self, table: Table) -> None:
        print_whole(table, self._console)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Bars on the screen for the length of a ``with``."""
        with self._bars:
            yield

    @contextmanager
    def following(self, job: Job) -> Iterator[Watch]:
        """A bar for a job while it runs."""
        name = job.scenario.name
        task = self._bars.add_task(name, total=job.scenario.training.rounds)

        def begin(job: Job, info: PopulationInfo, layout: dict[str, Any], done: int) -> None:
            self._bars.update(task, completed=done)

        def round(report: RoundReport) -> None:
            test = "" if report.evaluated is None else f"  test {100 * report.evaluated.accuracy:.1f} %"
            attacked = "  attacked" if report.attacked else ""
            self._bars.update(task, completed=report.round, description=f"{name}{test}{attacked}")

        try:
            yield Watch(begin, round)
        finally:
            self._bars.remove_task(task)

    def ended(self, job: Job, ended: Ended | Failed) -> None:
        """A line for a job that has ended."""
        self._ended += 1
        self._bars.update(self._all, completed=self._ended)
        if isinstance(ended, Failed):
            how = f"failed: {ended.why}"
        else:
            accuracy = "" if ended.accuracy is None else f", test accuracy {100 * ended.accuracy:.1f} %"
            how = f"{ended.status}{accuracy}; model digest {ended.digest[:16]}"
        minutes = (time.monotonic() - self._began) / 60
        self.say(f"[{self._ended}/{self._jobs}] {minutes:.1f} min  {job.scenario.name}: {how}")
