"""What may be deleted: a run folder, and what killed processes have left half written. Nothing else, whatever is named.

A folder counts as a run's by the files in it, never by its name, and only if it holds nothing that a run does not
write. A folder that a process writes is never touched.
"""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from raysplit.errors import RunError
from raysplit.storage import lock
from raysplit.storage.checkpoints import MEMORY, holds_memory, keep_model_only, newest_checkpoint
from raysplit.storage.lock import locked, writer_of
from raysplit.storage.run_folder import RunFolder

_PROOF = ("scenario.json", "origin.json")
"""A run folder has both from its first moment."""
_WRITTEN = (
    *("scenario.py", "modules", *_PROOF, "environment.json", "run.json", "metrics", "checkpoints", "updates"),
    *("observations", "inference", "certification"),
    *("artifacts", "report.html", "report-accuracy*.png", "__pycache__", lock.NAME),
)
_HALF_WRITTEN = re.compile(r"\..+\.[0-9a-f]{8}\.tmp|\.round-\d+.*\.(part|tmp)")
"""Files and folders on their way to their place (``atomic.py``, ``checkpoints.py``, ``updates.py``)."""
_REMOVED = re.compile(r"\..+-[0-9a-f]{10}\.removed")
_OLD_S = 3600.0
"""Outside run folders, where no lock tells, a half-written file that old is nobody's."""


@dataclass(frozen=True)
class Leftover:
    """Something that can be deleted. ``what``: why, for whoever is asked. ``memory_only``: of the run folder at ``path``
    what training remembers, not the model or the tables."""

    path: Path
    what: str
    size: int
    memory_only: bool = False


def run_to_remove(path: Path) -> Leftover:
    """A run folder, to be removed as a whole. Raises ``RunError`` where ``path`` is none, is a link, holds anything
    that a run does not write, or is being written."""
    if path.is_symlink():
        raise RunError(f"{path} is a link; name the run folder itself")
    if not path.is_dir():
        raise RunError(f"there is no run folder {path}")
    if not _is_run(path):
        raise RunError(f"{path} is not a run folder: it lacks {' and '.join(_lacking(path))}; nothing was removed")
    foreign = sorted(entry.name for entry in path.iterdir() if not _own(entry.name))
    if foreign:
        raise RunError(f"{path} holds {foreign[0]!r}, which no run writes; move it away first; nothing was removed")
    writer = writer_of(path)
    if writer is not None:
        raise RunError(f"{path} is being written by {writer}; wait for it or stop it first")
    return Leftover(path, _condition(RunFolder(path)), _size(path))


def leftovers(out: Path, unfinished: bool = False, state: bool = False) -> list[Leftover]:
    """What can be deleted under ``out``, a folder of runs: what was half written or half removed, and runs that were
    stopped before their first round. ``unfinished``: all runs that have not ended, too; ``state``: of those that have,
    all but the model.

    Raises ``RunError`` where ``out`` is no folder.
    """
    if not out.is_dir():
        raise RunError(f"there is no folder {out}; give one with runs in it, such as runs")
    found: list[Leftover] = []
    for path in sorted(out.iterdir()):
        if path.is_symlink():
            continue
        if not path.is_dir():
            if _half_written(path):
                found.append(Leftover(path, "half written", _size(path)))
        elif _REMOVED.fullmatch(path.name) and writer_of(path) is None:
            found.append(Leftover(path, "half removed", _size(path)))
        elif _is_run(path):
            found += _in_run(RunFolder(path), unfinished, state)
        else:  # such as a sweep's report
            found += [
                Leftover(file, "half written", _size(file)) for file in sorted(path.iterdir()) if _half_written(file)
            ]
    return found


def _in_run(folder: RunFolder, unfinished: bool, state: bool) -> list[Leftover]:
    if writer_of(folder.path) is not None:
        return []
    if not _ended(folder) and (unfinished or not (folder.rounds_done() or newest_checkpoint(folder.checkpoints))):
        try:
            return [run_to_remove(folder.path)]
        except RunError:
            return []  # somebody put something of their own there
    places = (folder.path, folder.metrics, folder.checkpoints, folder.updates, folder.updates / "server")
    half = [entry for place in places if place.is_dir() for entry in sorted(place.iterdir())]
    half += [entry for entry in sorted(folder.checkpoints.glob("round-*/.*"))]
    found = [Leftover(path, "half written", _size(path)) for path in half if _HALF_WRITTEN.fullmatch(path.name)]
    memory = _memory_size(folder)
    if state and memory and _ended(folder):
        found.append(Leftover(folder.path, "optimiser states and the like, and older checkpoints", memory, True))
    return found


def delete(leftover: Leftover) -> None:
    """Delete it. A run folder vanishes at once under its name, so that a crash leaves none that is half there.

    Raises ``RunError`` where a process has begun to write it since, or the disk refuses.
    """
    path = leftover.path
    try:
        if leftover.memory_only:
            with locked(path):
                keep_model_only(RunFolder(path).checkpoints)
        elif _is_run(path) and not _REMOVED.fullmatch(path.name):
            gone = path.with_name(f".{path.name}.removed")
            with locked(path):
                if _condition(RunFolder(path)) != leftover.what:
                    raise RunError(f"{path} was written since it was listed; nothing of it was removed")
                path.rename(gone)
                shutil.rmtree(gone)
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"{path} cannot be removed ({error.strerror}); check its permissions") from error


def _is_run(path: Path) -> bool:
    return not _lacking(path)


def _lacking(path: Path) -> list[str]:
    return [name for name in _PROOF if not (path / name).is_file()]


def _own(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in _WRITTEN) or bool(_HALF_WRITTEN.fullmatch(name))


def _half_written(path: Path) -> bool:
    return bool(_HALF_WRITTEN.fullmatch(path.name)) and time.time() - path.lstat().st_mtime > _OLD_S


def _ended(folder: RunFolder) -> bool:
    try:
        return folder.state().get("status") in ("finished", "diverged")
    except RunError:
        return True  # a damaged record is not for a machine to judge


def _condition(folder: RunFolder) -> str:
    try:
        status = str(folder.state().get("status", "never began"))
    except RunError:
        status = "damaged"
    said = "stopped" if status == "running" else status  # nobody holds it, so it was killed
    return f"{said}, {folder.rounds_done()} rounds"


def _memory_size(folder: RunFolder) -> int:
    """Bytes that ``keep_model_only`` would free."""
    newest = newest_checkpoint(folder.checkpoints)
    older = sum(_size(path) for path in folder.checkpoints.glob("round-*") if path != newest)
    return older + (_size(newest / MEMORY) if newest is not None and holds_memory(newest) else 0)


def _size(path: Path) -> int:
    files = [path] if not path.is_dir() else [file for file in path.rglob("*") if not file.is_dir()]
    return sum(file.lstat().st_size for file in files)
