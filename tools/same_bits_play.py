"""The player of ``same_bits.py``: a process that plays scenarios on the tree that PYTHONPATH names, through what users
call.

    python same_bits_play.py names           a JSON object on standard output: the scenarios of each file python
    same_bits_play.py play WORK.json  plays; WORK.json: {"out": FOLDER, "tasks": [{"mode", "module", "names"}, ...]}

A line of FOLDER/results.jsonl for each scenario: its id, its run's folder, why it failed, if it did, and the seconds
that it took.
"""

from __future__ import annotations

import importlib
import inspect
import json
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from same_bits_data import check_tree
from same_bits_plan import MODES, MODULES, WIDEST, Mode, Task, group_of
from same_bits_toys import FAILURES

GIVE_UP = 5
"""After so many failures in a row the rest of a batch is not played: a cluster would be started anew for each."""


class Item(NamedTuple):
    """A scenario to be played in a mode; ``job`` is the runner's."""

    mode: str
    name: str
    job: Any

    @property
    def folder(self) -> Path:
        return Path(self.job.folder.path)


class Front(NamedTuple):
    """What this player uses of the inside of a tree, the only such place."""

    runner: ModuleType
    choice: ModuleType

    @classmethod
    def of_tree(cls) -> Front:
        """From where the tree has it: the places after the restructuring first."""
        return cls(
            _first("raysplit.app.running.runner", "raysplit.runner"),
            _first("raysplit.app.running.engine_choice", "raysplit.engine_choice"),
        )

    def items(self, mode: str, file: Path, out: Path) -> list[Item]:
        """What there is to do for a scenario file in a mode."""
        return [Item(mode, job.scenario.name, job) for job in self.runner.jobs_from(file, out, [], **self._keeping())]

    def _keeping(self) -> dict[str, bool]:
        """Keep what training remembers, to compare it, where the tree would drop it from a run that has finished."""
        takes = inspect.signature(self.runner.jobs_from).parameters
        return {"keep_state": True} if "keep_state" in takes else {}

    def run(self, batch: list[Item]) -> Iterator[Item]:
        """Play a batch, one after another and forking where they can, on one cluster if it is on Ray; raises where one
        fails."""
        watch, jobs = self.runner.Watch(), [item.job for item in batch]
        if not MODES[batch[0].mode].on_ray:
            choice = self.choice.EngineChoice(**MODES[batch[0].mode].engine)
            for item, _ in zip(batch, self.runner.run_all(jobs, choice, lambda job: nullcontext(watch)), strict=True):
                yield item
            return
        with self.runner.ready(jobs, self.choice.EngineChoice(**WIDEST), "refuse") as cluster:
            for item in batch:
                choice = self.choice.EngineChoice(**MODES[item.mode].engine)
                play = vars(self.runner).get("play") or self.runner.attempt  # the later tree's name first
                play(item.job, choice, cluster, watch, "refuse")
                yield item

    def resume(self, folder: Path, mode: Mode) -> None:
        """Go on with an unfinished run."""
        self.runner.resume(folder, self.choice.EngineChoice(**mode.engine), self.runner.Watch(), **self._keeping())


def _first(*names: str) -> ModuleType:
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise
    raise ModuleNotFoundError(f"the tree has none of {', '.join(names)}")


def names_by_module() -> dict[str, list[str]]:
    """The scenarios of each file, in order."""
    return {module: list(importlib.import_module(module).CASES) for module in MODULES}


def play(tasks: list[Task], out: Path) -> Iterator[dict[str, Any]]:
    """Play scenarios and say what became of each.

    Every scenario, or group of those that fork from one another, has a file of its own: comparing all with all would
    take longer than playing them. On Ray all share one cluster; on the local engine one that is refused stops no other.
    """
    failures: dict[str, str] = {}
    batches: list[list[Item]] = []
    for task in tasks:
        here = out / task.mode
        here.mkdir(exist_ok=True)
        for group in dict.fromkeys(group_of(name) for name in task.names):
            names = [name for name in task.names if group_of(name) == group]
            try:
                file = _written(here / f"{group}.py", task.module, names)
                batches.append(Front.of_tree().items(task.mode, file, here / "runs"))
            except Exception as error:
                failures |= {f"{task.mode}/{name}": _said(error) for name in names}
    ray = [item for batch in batches for item in batch if MODES[item.mode].on_ray]
    local = [batch for batch in batches if not MODES[batch[0].mode].on_ray]
    waiting = dict.fromkeys(id for task in tasks for id in task.ids)
    for batch in [*local, *([ray] if ray else [])]:
        for item, why, seconds in _in_turn(batch):
            id = f"{item.mode}/{item.name}"
            waiting.pop(id)
            yield {"id": id, "folder": str(item.folder), "failure": why, "seconds": round(seconds, 2)}
    for id in waiting:
        why = FAILURES.get(id.partition("/")[2]) or failures.get(id, "was not played")
        yield {"id": id, "folder": None, "failure": why, "seconds": 0.0}


def _written(file: Path, module: str, names: list[str]) -> Path:
    """A scenario file as a user would write it; one for parts of a user's own, ``own-…``, holds their classes, the
    others import the table."""
    text = f"from {module} import CASES\n"
    if any(name.startswith("own-") for name in names):
        text = Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8")
    text += f"\nfrom same_bits_toys import build\n\nscenarios = build(CASES, {names!r})\n"
    file.write_text(text, encoding="utf-8")
    return file


def _in_turn(batch: list[Item]) -> Iterator[tuple[Item, str | None, float]]:
    """Play a batch; after a scenario that fails it goes on behind it, until too many have failed in a row. Resuming
    comes last."""
    left, failed, again = list(batch), 0, []
    while left and failed < GIVE_UP:
        started = time.perf_counter()
        try:
            for item in Front.of_tree().run(list(left)):
                del left[0]
                if MODES[item.mode].taken_back:
                    again.append(item)
                else:
                    yield item, None, time.perf_counter() - started
                failed, started = 0, time.perf_counter()
        except Exception as error:
            traceback.print_exc()
            yield left.pop(0), _said(error), time.perf_counter() - started
            failed += 1
    for item in again:
        started = time.perf_counter()
        why = _again(item.folder, MODES[item.mode])
        yield item, why, time.perf_counter() - started


def _again(folder: Path, mode: Mode) -> str | None:
    """Take a run's last rounds back, as if it had been interrupted before them, and resume it; why that went wrong, if
    it did."""
    straight = json.loads((folder / "run.json").read_text())
    checkpoints = sorted((folder / "checkpoints").glob("round-*"))
    if len(checkpoints) <= mode.taken_back:
        return f"has only {len(checkpoints)} checkpoints, so nothing can be resumed"
    for checkpoint in checkpoints[-mode.taken_back :]:
        shutil.rmtree(checkpoint)
    reached = int(checkpoints[-mode.taken_back - 1].name.rsplit("-", 1)[1])
    (folder / "run.json").write_text(json.dumps({**straight, "status": "interrupted", "rounds": reached}))
    try:
        Front.of_tree().resume(folder, mode)
    except Exception as error:
        traceback.print_exc()
        return f"cannot be resumed: {_said(error)}"
    resumed = json.loads((folder / "run.json").read_text())
    same = straight["digest"] == resumed["digest"]
    return None if same else "ends elsewhere when it is resumed than straight through"


def _said(error: Exception) -> str:
    """What an error says, in one line; of a host's traceback the end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    return f"{type(error).__name__}: {lines[0]}" + (f" … {lines[-1]}" if len(lines) > 1 else "")


def main() -> None:
    """Play, or list the names."""
    check_tree()
    if sys.argv[1] == "names":
        print(json.dumps(names_by_module()))
        return
    work = json.loads(Path(sys.argv[2]).read_text())
    tasks = [Task(form["mode"], form["module"], tuple(form["names"])) for form in work["tasks"]]
    with open(Path(work["out"]) / "results.jsonl", "w", encoding="utf-8") as results:
        for result in play(tasks, Path(work["out"])):
            results.write(json.dumps(result) + "\n")
            results.flush()


if __name__ == "__main__":
    main()
