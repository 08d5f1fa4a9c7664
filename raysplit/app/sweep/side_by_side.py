"""Scenarios side by side: processes of the local engine, each with one scenario at a time. The bits are those of one
after another.

A process gets the job to do, by its run folder, and reports its rounds and how it ended. It lives for many jobs,
because importing torch costs seconds. A job waits until the run that it forks from has ended.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from raysplit.app.running.engine_choice import EngineChoice
from raysplit.app.running.interruption import interrupt
from raysplit.app.running.runner import Ended, Failed, Job, Watch, attempt, jobs_from, ready
from raysplit.simulation.shared_rounds import Form
from raysplit.storage.run_folder import RunFolder

LOCAL = EngineChoice(engine="local")


@dataclass(frozen=True)
class Origin:
    """Where a process finds the jobs: the arguments of ``jobs_from``."""

    file: Path
    out: Path
    sets: list[str]
    only: list[str] | None
    others: Mapping[Path, Form]
    keep_state: bool = False

    def jobs(self) -> list[Job]:
        return jobs_from(self.file, self.out, self.sets, self.only, self.others, self.keep_state)


@dataclass
class _Worker:
    process: BaseProcess
    line: Connection
    job: Job | None = None
    watch: Watch = field(default_factory=Watch)
    follow: ExitStack = field(default_factory=ExitStack)

    def give(self, job: Job, following: Callable[[Job], AbstractContextManager[Watch]]) -> None:
        self.job, self.watch = job, self.follow.enter_context(following(job))
        self.line.send(job.folder.path)


def run_side_by_side(
    origin: Origin, jobs: list[Job], processes: int, following: Callable[[Job], AbstractContextManager[Watch]]
) -> Iterator[Ended | Failed]:
    """As ``attempt_all`` on the local engine, up to ``processes`` jobs at a time; given back as
    they end."""
    waiting = list(jobs)
    unended = {job.folder.path for job in jobs}
    workers: list[_Worker] = []
    with ready(jobs, LOCAL, "continue"):
        try:
            while unended:
                can = [job for job in waiting if not _waits(job, unended)]
                for job in sorted(can, key=lambda job: not job.keep):  # first those for which others wait
                    idle = next((worker for worker in workers if worker.job is None), None)
                    if idle is None and len(workers) < processes:
                        workers.append(idle := _start(origin))
                    if idle is None:
                        break
                    waiting.remove(job)
                    idle.give(job, following)
                for worker in _spoken(workers):
                    ended = _hear(worker)
                    if ended is None:
                        continue
                    if not worker.process.is_alive():
                        workers.remove(worker)
                    unended.discard(ended.folder.path)
                    yield ended
        finally:
            _stop(workers)


def _waits(job: Job, unended: set[Path]) -> bool:
    return bool(job.forks) and job.forks[0].folder.path in unended


def _start(origin: Origin) -> _Worker:
    fresh = multiprocessing.get_context("spawn")  # a fork would take over the parent's threads
    here, there = fresh.Pipe()
    process = fresh.Process(target=_work, args=(there, origin), daemon=True)
    process.start()
    there.close()
    return _Worker(process, here)


def _spoken(workers: list[_Worker]) -> list[_Worker]:
    heard = wait([worker.line for worker in workers if worker.job is not None])
    return [worker for worker in workers if worker.line in heard]


def _hear(worker: _Worker) -> Ended | Failed | None:
    """One message; how the job ended, if that is what it says."""
    job = worker.job
    assert job is not None
    try:
        kind, *content = worker.line.recv()
    except (EOFError, OSError):
        worker.process.join()
        content = [
            Failed(job.folder, f"its process died with exit code {worker.process.exitcode}; memory may have run out")
        ]
        kind = "ended"
    if kind == "begin":
        worker.watch.begin(job, *content)
    elif kind == "round":
        worker.watch.round(*content)
    else:
        worker.follow.close()
        worker.job = None
        ended: Ended | Failed = content[0]
        return ended
    return None


def _stop(workers: list[_Worker]) -> None:
    """Idle processes end; busy ones (after Ctrl-C) write a checkpoint first."""
    for worker in workers:
        worker.follow.close()
        worker.process.terminate()
    for worker in workers:
        worker.process.join()
        worker.line.close()


def _work(line: Connection, origin: Origin) -> None:
    """The life of a process."""
    for number in (signal.SIGINT, signal.SIGHUP):  # they reach all processes of a terminal; the parent passes them on
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        jobs = {job.folder.path: job for job in origin.jobs()}
        while True:
            path = line.recv()
            if path not in jobs:
                line.send(
                    ("ended", Failed(RunFolder(path), f"{origin.file} was changed while the sweep ran; start it again"))
                )
                continue
            watch = Watch(
                lambda job, *content: line.send(("begin", *content)), lambda report: line.send(("round", report))
            )
            line.send(("ended", attempt(jobs[path], LOCAL, None, watch)))
    except (KeyboardInterrupt, EOFError, BrokenPipeError):
        return  # interrupted, and the run has been left resumable; or nobody is there any more
