"""Plays a list of scenarios on two trees and compares every bit that may not change: what a restructuring must leave as
it was.

    python tools/same_bits.py REF               all scenarios: this tree against the commit REF
    python tools/same_bits.py REF --only local  those on the local engine; so ``ray``, a mode, a name, or a glob: 'rule-*'
    python tools/same_bits.py REF --only quick  some fifty, one of each kind
    python tools/same_bits.py REF --list        what would be played

Both trees are copied to temporary folders first and played from there by this Python, so that edits meanwhile move
nothing. Compared are the models' digests, all tables' columns but those that are marked as not deterministic, recorded
updates, and the tensors of the last checkpoint. What REF gave is kept under the system's temporary folder, and the next
call plays this tree alone, unless ``--fresh`` says otherwise. The scenarios are in ``same_bits_protocols.py``,
``same_bits_attacks.py`` and ``same_bits_rules.py``; names that changed between the trees in ``same_bits_compare.py``.
Exit code 1: something differs or failed.
"""

from __future__ import annotations

import argparse
import dataclasses
import getpass
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from same_bits_compare import differences
from same_bits_plan import Task, dealt, selected

TOOLS = Path(__file__).resolve().parent
HERE = TOOLS.parent
KEPT = ("metrics", "updates", "run.json", "checkpoints")
"""What of a run folder is compared."""
CACHED_FOR = 2 * 24 * 3600
"""Seconds for which results of a reference are kept after they were last used."""
ROOM = 1 << 30
"""Bytes that must be free in memory-backed storage for runs to be written there, which saves waiting for disks."""
MOST_SHOWN = 4


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two trees: its code in ``tree``, and where results go, ``kept/ID/`` for a run and ``kept/ID.failed``
    for a failure."""

    name: str
    tree: Path
    kept: Path

    def has(self, id: str) -> bool:
        """Whether it has been played to an end."""
        return (self.kept / id / "run.json").exists()

    def failure(self, id: str) -> str | None:
        """Why a scenario has no result, or None where it has one."""
        failed = self.kept / f"{id}.failed"
        return None if self.has(id) else failed.read_text() if failed.exists() else "was not played"


def main() -> int:
    """Play, compare, say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ref", metavar="REF", help="the commit to compare this tree with")
    parser.add_argument("--only", nargs="+", action="extend", default=[], metavar="GLOB", help="choose scenarios")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side (default: 2)")
    parser.add_argument("--list", action="store_true", help="name the scenarios and play none")
    parser.add_argument("--fresh", action="store_true", help="play REF anew, too")
    parser.add_argument("--changed-only", action="store_true", help="a line for those alone that are not the same")
    options = parser.parse_args()
    started = time.perf_counter()
    with scratch() as folder:
        ref = Side("ref", folder / "ref", cache(options.ref))
        new = Side("new", folder / "new", folder / "results")
        unpack(options.ref, ref.tree)
        shutil.copytree(HERE / "raysplit", new.tree / "raysplit", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(
            TOOLS, folder / "tools", ignore=lambda _, names: [n for n in names if not n.startswith("same_bits")]
        )
        tasks = selected(names_of(ref, folder), options.only)
        ids = [id for task in tasks for id in task.ids]
        if options.list or not ids:
            print("\n".join(ids) or f"no scenario is called like {' or '.join(options.only)}")
            return 0 if ids else 2
        todo = tasks if options.fresh else [task for task in map(lambda task: without(task, ref), tasks) if task.names]
        sides = [(new, tasks)] + ([(ref, todo)] if todo else [])
        print(
            f"{len(ids)} scenarios; {sum(len(task.names) for task in todo)} of them are played on {options.ref} too",
            flush=True,
        )
        play_all(sides, max(1, options.jobs), folder)
        wrong = compare(ids, ref, new, options.changed_only)
    taken = time.perf_counter() - started
    print(f"{len(ids) - wrong} same, {wrong} not, of {len(ids)} scenarios in {taken:.0f} s")
    return 1 if wrong else 0


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder, in memory where there is space."""
    memory = Path("/dev/shm")
    there = memory if memory.is_dir() and shutil.disk_usage(memory).free > ROOM else None
    with tempfile.TemporaryDirectory(prefix="same-bits-", dir=there) as folder:
        yield Path(folder)


def commit_of(ref: str) -> str:
    """The full name of a commit."""
    command = ["git", "-C", str(HERE), "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}"]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode:
        sys.exit(f"{ref} is no commit of {HERE}")
    return found.stdout.strip()


def unpack(ref: str, folder: Path) -> None:
    """The package as it is in ``ref``, in ``folder``."""
    folder.mkdir(parents=True)
    archive = folder.with_suffix(".tar")
    subprocess.run(["git", "-C", str(HERE), "archive", "-o", str(archive), commit_of(ref), "raysplit"], check=True)
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    archive.unlink()


def cache(ref: str) -> Path:
    """Where results of ``ref`` are kept: for these scenarios, on this machine and with these packages alone."""
    lists = hashlib.sha256()
    for path in sorted(TOOLS.glob("same_bits_*.py")):
        if path.stem not in ("same_bits_compare", "same_bits_plan"):
            lists.update(path.read_bytes())
    packages = [f"{name} {version(name)}" for name in ("torch", "numpy", "pyarrow", "ray")]
    machine = [sys.version, platform.platform(), platform.node(), str(os.cpu_count()), *packages]
    key = hashlib.sha256("\n".join([commit_of(ref), lists.hexdigest(), *machine]).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"raysplit-same-bits-{getpass.getuser()}" / key
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    for old in folder.parent.iterdir():
        if time.time() - old.stat().st_mtime > CACHED_FOR:
            shutil.rmtree(old, ignore_errors=True)
    return folder


def names_of(side: Side, folder: Path) -> dict[str, list[str]]:
    """The scenarios of every file, as a player on ``side`` names them; kept with its results."""
    kept = side.kept / "names.json"
    if not kept.exists():
        command, setting = player(folder, "names"), environment(side, folder)
        found = subprocess.run(command, env=setting, cwd=folder, capture_output=True, text=True)
        if found.returncode:
            sys.exit(f"the scenarios cannot be listed:\n{found.stderr}")
        kept.write_text(found.stdout)
    names: dict[str, list[str]] = json.loads(kept.read_text())
    return names


def without(task: Task, side: Side) -> Task:
    """What of a task has not been played on ``side``."""
    return dataclasses.replace(task, names=tuple(n for n in task.names if not side.has(f"{task.mode}/{n}")))


def player(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(folder / "tools" / "same_bits_play.py"), *arguments]


def environment(side: Side, folder: Path) -> dict[str, str]:
    """The tree and the tool before everything that is installed, for the player and all processes that Ray starts for
    it."""
    path = os.pathsep.join([str(side.tree), str(folder / "tools")])
    return {**os.environ, "PYTHONPATH": path, "SAME_BITS_TREE": str(side.tree)}


def play_all(sides: Sequence[tuple[Side, Sequence[Task]]], jobs: int, folder: Path) -> None:
    """Play what each side has to, ``jobs`` processes at a time, and keep what is compared."""
    parts = [(side, part) for side, tasks in sides for part in dealt(tasks, max(1, jobs // len(sides)))]
    parts.sort(key=lambda one: one[1][0].mode.startswith("ray"))  # Ray last, when the processors are free
    with ThreadPoolExecutor(jobs) as pool:
        for done in [pool.submit(play, side, part, folder / f"runs{i}") for i, (side, part) in enumerate(parts)]:
            done.result()


def play(side: Side, tasks: Sequence[Task], out: Path) -> None:
    """Play ``tasks`` in one process and move what is compared under ``side.kept``."""
    out.mkdir()
    work = {"out": str(out), "tasks": [dataclasses.asdict(task) for task in tasks]}
    (out / "work.json").write_text(json.dumps(work))
    command, setting = player(out.parent, "play", str(out / "work.json")), environment(side, out.parent)
    with open(
        out / "log", "w"
    ) as log:  # in a folder without a package raysplit, where Ray's processes would look first
        code = subprocess.run(command, env=setting, cwd=out, stdout=log, stderr=subprocess.STDOUT).returncode
    results = out / "results.jsonl"
    for line in results.read_text().splitlines() if results.exists() else ():
        keep(side, json.loads(line))
    if code:
        tail = "\n".join((out / "log").read_text().splitlines()[-12:])
        print(f"a player of the {side.name} tree ended with exit code {code}:\n{tail}", flush=True)
    shutil.rmtree(out, ignore_errors=True)


def keep(side: Side, result: dict[str, Any]) -> None:
    """What became of one scenario, under ``side.kept``."""
    place = side.kept / result["id"]
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    if result["failure"] is not None:
        place.with_name(f"{place.name}.failed").write_text(result["failure"])
        return
    part = place.with_name(f"{place.name}.part")
    part.mkdir(exist_ok=True)
    for name in KEPT:
        found = Path(result["folder"]) / name
        if found.is_dir():
            shutil.copytree(found, part / name, dirs_exist_ok=True)
        elif found.exists():
            shutil.copy2(found, part / name)
    part.rename(place)


def compare(ids: Sequence[str], ref: Side, new: Side, changed_only: bool) -> int:
    """Say of each scenario whether it is the same; how many are not."""
    wrong = 0
    for id in ids:
        failures = [f"{side.name} tree: {why}" for side in (ref, new) if (why := side.failure(id)) is not None]
        found = failures or list(differences(ref.kept / id, new.kept / id))
        wrong += bool(found)
        if not found:
            if not changed_only:
                print(f"same       {id}")
            continue
        print(f"{'FAILED   ' if failures else 'DIFFERENT'}  {id}: {'; '.join(found[:MOST_SHOWN])}", end="")
        print(f"; and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else "")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
