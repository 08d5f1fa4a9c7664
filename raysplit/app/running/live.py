"""What a user sees while a run goes on: a progress line on a terminal, a line a few rounds in a log, JSON for
programs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from raysplit.analysis.report.numbers import size
from raysplit.app.running.runner import Ended, Job, Watch
from raysplit.costs.observed import observed_bytes
from raysplit.errors import counted
from raysplit.population.population import PopulationInfo
from raysplit.scenario.scenario import Scenario
from raysplit.simulation.simulation import RoundReport

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
        self._count += 1
        started = time.monotonic()
        if not self._json and scenario is not None:
            self.say(f"[{self._count}/{self._jobs}] {scenario.name}")
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
        task = bar.add_task("starting", total=None)
        spoken = [0.0]

        def begin(job: Job, info: PopulationInfo, layout: dict[str, Any], done: int) -> None:
            bar.update(task, total=job.scenario.training.rounds, completed=done)
            self._begin(job, info, layout, done, time.monotonic() - started)

        with bar:
            yield Watch(begin, lambda report: self._round(report, bar, task, spoken))

    def ended(self, ended: Ended) -> None:
        if self._json:
            end = {"event": "end", "run": str(ended.folder.path), "status": ended.status}
            stopped = {} if ended.stopped is None else {"stopped": ended.stopped}
            self._print({**end, "digest": ended.digest, "accuracy": ended.accuracy, **stopped})
            return
        if ended.stopped is not None:
            self.say(f"  {ended.stopped}")
        accuracy = "" if ended.accuracy is None else f", test accuracy {100 * ended.accuracy:.1f} %"
        self.say(f"  {ended.status}{accuracy}; model digest {ended.digest[:16]}; {ended.folder.path}")

    def _begin(self, job: Job, info: PopulationInfo, layout: dict[str, Any], done: int, seconds: float) -> None:
        if self._json:
            self._print(
                {
                    "event": "begin",
                    "run": str(job.folder.path),
                    "scenario": job.scenario.hash,
                    "rounds_done": done,
                    "population": info.name,
                    "synthetic": info.synthetic,
                    **layout,
                }
            )
            return
        kind = "SYNTHETIC, not real data: " if info.synthetic else ""
        self.say(
            f"  population: {kind}{info.name}, {counted(info.clients, 'client')}; cohort {job.scenario.cohort.size}"
        )
        self.say(
            f"  on {_where(layout, job.scenario)}; ready after {seconds:.1f} s"
            + (f"; rounds 1-{done} are done" if done else "")
        )
        observed = observed_bytes(job.scenario)
        if observed:
            self.say(f"  observations: at most {size(observed)} in {job.folder.observations}")

    def _round(self, report: RoundReport, bar: Progress, task: TaskID, spoken: list[float]) -> None:
        rate = report.clients / report.seconds
        if self._json:
            form = {
                "event": "round",
                "round": report.round,
                "of": report.rounds,
                "train_loss": report.train_loss,
                "train_accuracy": report.train_accuracy,
                "test_accuracy": None if report.evaluated is None else report.evaluated.accuracy,
                "attack_success": None if report.evaluated is None else report.evaluated.attack_success,
                "attacked": report.attacked,
                "clients_per_s": rate,
                "virtual_s": report.virtual_s,
                "diverged": report.diverged,
            }
            if report.privacy is not None:
                form["privacy"] = report.privacy.words
                form["epsilon"] = report.privacy.largest if report.privacy.claimed else None
            self._print(form)
            return
        test = "" if report.evaluated is None else f"test {100 * report.evaluated.accuracy:.1f} %  "
        success = None if report.evaluated is None else report.evaluated.attack_success
        test += "" if success is None else f"ASR {100 * success:.1f} %  "
        under = "attacked  " if report.attacked else ""
        loss = "passed over" if report.train_loss is None else f"loss {report.train_loss:.3f}"
        virtual = "" if report.virtual_s is None else f"  virtual {report.virtual_s:.4g} s"
        privacy = "" if report.privacy is None else f"  {report.privacy.words}"
        line = f"{test}{loss}  {under}{rate:.1f} clients/s{virtual}{privacy}"
        bar.update(task, completed=report.round, description=line)
        now = time.monotonic()
        last = report.round == report.rounds or report.diverged
        if bar.disable and (last or now - spoken[0] >= QUIET_EVERY_S):
            spoken[0] = now
            self.say(f"  round {report.round}/{report.rounds}  {line}")

    def _print(self, form: dict[str, Any]) -> None:
        print(json.dumps(form, sort_keys=True), flush=True)


def _where(layout: Mapping[str, Any], scenario: Scenario) -> str:
    """What an engine says of itself, in words: ``ray: 2 client hosts; server portion pooled in 1 main server``."""
    shards = "" if layout["shards"] == 1 else f"; updates in {counted(layout['shards'], 'column shard')}"
    if layout["engine"] == "local":
        return f"the local engine: one process, {layout['device']}{shards}"
    hosts = counted(layout["hosts"], "client host")
    gpus = f", {layout['gpus_per_host']:g} GPU each" if layout["gpus_per_host"] else ""
    pooled = f"server portion pooled in {counted(layout['servers'], 'main server')}"
    server = pooled if layout["placement"] == "pooled" else "server portion colocated with its clients"
    server = "" if scenario.protocol.server == "none" else f"; {server}"
    return f"{layout['engine']}: {hosts}{gpus}{server}{shards}"
