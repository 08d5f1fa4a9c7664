"""What a user sees while a run goes on: a progress line on a terminal, a line a few rounds in a log, JSON for
programs. It is drawn from events alone, so a run on a cluster looks like one here."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from raysplit.analysis.report.numbers import size
from raysplit.app.running.events import Event, begin_event, end_event, round_event
from raysplit.app.running.runner import Ended, Job, Watch
from raysplit.errors import counted
from raysplit.population.population import PopulationInfo
from raysplit.scenario.scenario import Scenario
from raysplit.simulation.simulation import RoundReport
from raysplit.storage.run_folder import RunFolder

QUIET_EVERY_S = 20


class Live:
    """Follows jobs one after another. Quiet when not on a terminal: a line when something changes, at most every 20
    s."""

    def __init__(self, as_json: bool, jobs: int) -> None:
        self._json = as_json
        self._console = Console(stderr=as_json, highlight=False, soft_wrap=True)
        self._jobs = jobs
        self._count = 0

    def say(self, text: str) -> None:
        """A line for people; silent with ``--json``."""
        if not self._json:
            self._console.print(text, markup=False)

    @contextmanager
    def following(self, scenario: Scenario | None) -> Iterator[Watch]:
        started = time.monotonic()
        with self.progress(None if scenario is None else scenario.name) as line:

            def begin(job: Job, info: PopulationInfo, layout: dict[str, Any], done: int) -> None:
                line.show(begin_event(job, info, layout, done, time.monotonic() - started))

            def round(report: RoundReport) -> None:
                line.show(round_event(report))

            yield Watch(begin, round)

    @contextmanager
    def progress(self, scenario: str | None) -> Iterator[ProgressLine]:
        """The progress line of the next job; ``scenario``: its name, None where that goes without saying."""
        self._count += 1
        if scenario is not None:
            self.say(f"[{self._count}/{self._jobs}] {scenario}")
        bar = Progress(
            TextColumn("  round"),
            MofNCompleteColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
            disable=self._json or not self._console.is_terminal,
        )
        with bar:
            yield ProgressLine(self, bar, bar.add_task("starting", total=None))

    def place(self, number: int, jobs: int) -> None:
        """The next job is one of so many, whichever were seen here."""
        self._count, self._jobs = number - 1, jobs

    def ended(self, ended: Ended) -> None:
        self.show_end(end_event(ended))

    def show_end(self, end: Event) -> None:
        if self._json:
            self.print_json(end)
            return
        if end.get("stopped") is not None:
            self.say(f"  {end['stopped']}")
        accuracy = "" if end["accuracy"] is None else f", test accuracy {100 * end['accuracy']:.1f} %"
        self.say(f"  {end['status']}{accuracy}; model digest {end['digest'][:16]}; {end['run']}")

    def print_json(self, form: Event) -> None:
        """One event on standard output; silent without ``--json``."""
        if self._json:
            print(json.dumps(form, sort_keys=True), flush=True)


class ProgressLine:
    """One job's beginning and rounds, as events tell them."""

    def __init__(self, live: Live, bar: Progress, task: TaskID) -> None:
        self._live = live
        self._bar = bar
        self._task = task
        self._spoken = 0.0

    def show(self, form: Event) -> None:
        self._live.print_json(form)
        if form["event"] == "begin":
            self._bar.update(self._task, total=form["of"], completed=form["rounds_done"])
            for line in _beginning(form):
                self._live.say(line)
        elif form["event"] == "round":
            self._round(form)

    def _round(self, form: Event) -> None:
        line = _round_line(form)
        self._bar.update(self._task, completed=form["round"], description=line)
        now = time.monotonic()
        last = form["round"] == form["of"] or form["diverged"]
        if self._bar.disable and (last or now - self._spoken >= QUIET_EVERY_S):
            self._spoken = now
            self._live.say(f"  round {form['round']}/{form['of']}  {line}")


def _beginning(form: Event) -> Iterator[str]:
    kind = "SYNTHETIC, not real data: " if form["synthetic"] else ""
    yield f"  population: {kind}{form['population']}, {counted(form['clients'], 'client')}; cohort {form['cohort']}"
    done = f"; rounds 1-{form['rounds_done']} are done" if form["rounds_done"] else ""
    yield f"  on {_where(form)}; ready after {form['ready_s']:.1f} s{done}"
    if form["observations_bytes"]:
        yield f"  observations: at most {size(form['observations_bytes'])} in {RunFolder(Path(form['run'])).observations}"


def _round_line(form: Event) -> str:
    test = "" if form["test_accuracy"] is None else f"test {100 * form['test_accuracy']:.1f} %  "
    test += "" if form["attack_success"] is None else f"ASR {100 * form['attack_success']:.1f} %  "
    under = "attacked  " if form["attacked"] else ""
    loss = "passed over" if form["train_loss"] is None else f"loss {form['train_loss']:.3f}"
    virtual = "" if form["virtual_s"] is None else f"  virtual {form['virtual_s']:.4g} s"
    privacy = f"  {form['privacy']}" if "privacy" in form else ""
    return f"{test}{loss}  {under}{form['clients_per_s']:.1f} clients/s{virtual}{privacy}"


def _where(form: Event) -> str:
    """What an engine says of itself, in words: ``ray: 2 client hosts; server portion pooled in 1 main server``."""
    shards = "" if form["shards"] == 1 else f"; updates in {counted(form['shards'], 'column shard')}"
    if form["engine"] == "local":
        return f"the local engine: one process, {form['device']}{shards}"
    hosts = counted(form["hosts"], "client host")
    gpus = f", {form['gpus_per_host']:g} GPU each" if form["gpus_per_host"] else ""
    pooled = f"server portion pooled in {counted(form['servers'], 'main server')}"
    server = pooled if form["placement"] == "pooled" else "server portion colocated with its clients"
    server = "" if form["server_portion"] == "none" else f"; {server}"
    return f"{form['engine']}: {hosts}{gpus}{server}{shards}"
