"""A run folder is written by one process at a time, and says by which."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from raysplit.errors import RunError

NAME = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder, which is made where it is missing, for this process.

    Raises ``RunError`` where another process holds it; one that was killed does not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / NAME, "a+")  # noqa: SIM115 - opening it may fail in another way than locking it
    except OSError as error:
        raise RunError(f"{folder} cannot be written ({error.strerror}); check its disk and permissions") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(f"{folder} is being written by {_named(file)}; wait for it or stop it first") from None
        _write(file, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        try:
            yield
        finally:
            _write(file, "")


def writer_of(folder: Path) -> str | None:
    """Which process holds a run folder, as ``process 4711 on bighost``; None where none does."""
    try:
        with open(folder / NAME) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return _named(file)
    except OSError:
        return None  # nobody has ever held it
    return None


def _named(file: IO[str]) -> str:
    file.seek(0)
    try:
        form = json.loads(file.read())
        return f"process {int(form['pid'])} on {form['host']}"
    except (ValueError, KeyError, TypeError):
        return "another process"


def _write(file: IO[str], text: str) -> None:
    with suppress(OSError):  # a full disk: the lock holds without its holder's name
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), text.encode())
