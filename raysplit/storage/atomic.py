"""Files that exist whole or not at all: written beside their place, forced to disk, then renamed into it."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def write_bytes(path: str | os.PathLike[str], data: bytes | memoryview) -> None:
    """Replace ``path`` by ``data``: whoever opens it, after a crash at any instant, finds the old bytes or all the new
    ones.

    Raises ``OSError`` where the disk is full or the folder missing; the old file is then untouched.
    """
    with write_through(path) as file:
        file.write(data)


@contextmanager
def write_through(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """As ``write_bytes``, for what is written piece by piece: the file is in its place once the block ends without
    an error."""
    path = Path(path)
    with naming(path):
        yield from _written_through(path)


def _written_through(path: Path) -> Iterator[IO[bytes]]:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """An ``OSError`` within the ``with`` says which file it is about, also where it comes of an open one."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = os.fspath(path)
        raise


def write_json(path: str | os.PathLike[str], obj: object) -> None:
    """``write_bytes`` of ``obj`` as canonical JSON: sorted keys, two-space indent, UTF-8, one newline at the end.

    Floats that are not finite are written as ``NaN`` and ``Infinity``, as Python reads them: a diverged loss stays
    visible. Raises ``TypeError`` for what JSON cannot hold.
    """
    text = json.dumps(obj, sort_keys=True, indent=2, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode())


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Force a folder's entries to disk: a rename is durable only when the folder that holds the name is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
