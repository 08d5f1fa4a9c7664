"""Where a cluster that a run starts keeps its sockets and logs: a folder of its own, short, private, removed at the
end.

Ray would take ``$TMPDIR/ray``, which all users of a machine share, and which is too long for a socket's path where
batch systems name it after a job: the kernel takes 107 bytes, and Ray adds 64 of its own.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from raysplit.errors import ClusterError

LONGEST = 36
"""Bytes of a folder's path: 103, which a socket's may have everywhere, without ``/r/session_2026-01-31_23-59-59_999999_
4194304/sockets/plasma_store``."""
LAST = Path("/tmp")
"""Taken where the environment names no folder that can be used."""
_PREFIX = "rsplit-"
_ENDING = 8
"""Letters that ``mkdtemp`` adds to the prefix."""


@contextmanager
def session_folder() -> Iterator[Path]:
    """A folder for the length of a ``with``: under ``RAY_TMPDIR``, else ``TMPDIR``, else ``/tmp``, the first of these
    that is short enough and can be written. Ray opens it to everybody, so it lies in one that nobody else can enter.

    Folders of runs that were killed are removed here, too. Raises ``ClusterError`` where none of the three can be used.
    """
    base = _base()
    for left in base.glob(f"{_PREFIX}*"):
        _remove_if_left(left)
    folder, lock = _make(base)
    with lock:
        try:
            yield folder / "r"
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _make(base: Path) -> tuple[Path, IO[str]]:
    """A fresh folder, mode 0700, and its lock, held."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        lock = open(folder / ".lock", "w")  # noqa: SIM115 - held as long as the folder is used
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder, lock
        lock.close()  # another process took it for one that was left, before it was locked


def _base() -> Path:
    asked = [Path(os.environ[name]) for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)]
    for base in [*asked, LAST]:
        short = len(os.fsencode(base.absolute())) + len("/" + _PREFIX) + _ENDING <= LONGEST
        if short and base.is_dir() and os.access(base, os.W_OK | os.X_OK):
            return base.absolute()
    tried = ", ".join(str(base) for base in [*asked, LAST])
    raise ClusterError(
        f"Ray finds no folder for its sockets: none of {tried} can be written and has a path of at most "
        f"{LONGEST - len('/' + _PREFIX) - _ENDING} bytes; name one with RAY_TMPDIR, or use --engine local"
    )


def _remove_if_left(folder: Path) -> None:
    """Remove a session's folder that no process holds any more; not one that is being made, which has no lock yet."""
    try:
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            return
        with open(folder / ".lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return  # held, or none of ours
