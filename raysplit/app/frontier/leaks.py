"""The inference attacks of a frontier, one after another or in processes side by side. The scores are the same."""

from __future__ import annotations

import functools
import multiprocessing
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from raysplit.analysis.frontier.leakage import Leak, leak_at
from raysplit.app.running.runner import Failed, Job
from raysplit.errors import UserError, first_line
from raysplit.scenario.file import load_frontier
from raysplit.scenario.frontier import Frontier
from raysplit.scenario.scenario import Scenario
from raysplit.storage.run_folder import RunFolder
from raysplit.storage.stored_scenario import stored_scenario


@dataclass(frozen=True)
class Task:
    """An attack, by its name in the frontier, on the run of a job that has ended."""

    job: Job
    attack: str


def found_by(file: Path, frontier: Frontier, tasks: list[Task], processes: int) -> Iterator[tuple[Task, Leak | Failed]]:
    """What each finds, as they end. ``file``: the frontier's."""
    if processes == 1 or len(tasks) < 2:
        for task in tasks:
            yield task, _attempt(frontier, task.attack, task.job.scenario, task.job.folder.path)
        return
    fresh = multiprocessing.get_context("spawn")  # a fork would take over the parent's threads
    with ProcessPoolExecutor(min(processes, len(tasks)), fresh) as pool:
        try:
            under_way = {pool.submit(_in_process, file, task.attack, task.job.folder.path): task for task in tasks}
            for done in as_completed(under_way):
                yield under_way[done], done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _attempt(frontier: Frontier, name: str, scenario: Scenario, path: Path) -> Leak | Failed:
    try:
        return leak_at(frontier, name, scenario, path)
    except UserError as error:
        return Failed(RunFolder(path), str(error))
    except Exception as error:
        return Failed(RunFolder(path), f"{type(error).__name__}: {first_line(error)}", traceback.format_exc())


def _in_process(file: Path, name: str, path: Path) -> Leak | Failed:
    return _attempt(_frontier_of(file), name, stored_scenario(RunFolder(path))[0], path)


@functools.cache
def _frontier_of(file: Path) -> Frontier:
    """Once a process, which lives for many attacks."""
    return load_frontier(file)
