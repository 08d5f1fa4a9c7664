"""A file that is half downloaded: its bytes in ``NAME.part``, what the server said of it in ``NAME.part.json``."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True)
class Remote:
    """What a server said of the whole file: its length in bytes, ``ETag`` and ``Last-Modified``, where it said so."""

    length: int | None = None
    etag: str = ""
    modified: str = ""

    @classmethod
    def of(cls, headers: Mapping[str, str], *, partial: bool) -> Remote:
        """From an answer's headers; ``partial`` for a 206, whose ``Content-Range`` holds the whole length."""
        text = headers.get("Content-Range", "").rpartition("/")[2] if partial else headers.get("Content-Length", "")
        length = int(text) if re.fullmatch(r"\d{1,18}", text.strip()) else None
        return cls(length, headers.get("ETag", ""), headers.get("Last-Modified", ""))

    @property
    def condition(self) -> str:
        """What ``If-Range`` may hold: a strong ETag or a date; empty when the server gave neither."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    def is_another_than(self, known: Remote) -> bool:
        """True when this is certainly not the file of ``known``: the server names its version differently."""
        if self.etag and known.etag:
            return self.etag != known.etag
        return bool(self.modified and known.modified and self.modified != known.modified)

    def is_certainly(self, known: Remote) -> bool:
        """True when the server names its version as in ``known``, or never named one and the length is the same."""
        if self.is_another_than(known):
            return False
        if self.etag or self.modified or known.etag or known.modified:
            return bool((self.etag and known.etag) or (self.modified and known.modified))
        return self.length is not None and self.length == known.length


def load_remote(part: Path) -> Remote:
    """What the server said when ``part`` was begun; an empty ``Remote`` when nothing legible was noted."""
    try:
        noted = json.loads(_note(part).read_text(encoding="utf-8"))
        remote = Remote(noted["length"], noted["etag"], noted["modified"])
    except (OSError, ValueError, TypeError, KeyError):
        return Remote()
    legible = isinstance(remote.etag, str) and isinstance(remote.modified, str)
    return remote if legible and (remote.length is None or type(remote.length) is int) else Remote()


def save_remote(part: Path, remote: Remote) -> None:
    """Note it beside ``part``, atomically."""
    fresh = _note(part).with_name(_note(part).name + ".tmp")
    with open(fresh, "w", encoding="utf-8") as out:
        json.dump(asdict(remote), out)
        out.flush()
        os.fsync(out.fileno())
    os.replace(fresh, _note(part))


def forget_remote(part: Path) -> None:
    """Remove the note once ``part`` is no more."""
    _note(part).unlink(missing_ok=True)


def put(out: BinaryIO, position: int, chunk: bytes) -> int:
    """Bring ``chunk`` to ``position`` and return where it ends; bytes that ``out`` has are compared, not written.

    So a server that ignores ``Range`` sends what we have a second time, but may break off without costing us a byte.
    """
    out.seek(position)
    ours = out.read(len(chunk))
    if not chunk.startswith(ours):
        # Another file than the one that we began: from here on nothing of ours belongs to it.
        equal = next(place for place, pair in enumerate(zip(ours, chunk, strict=False)) if pair[0] != pair[1])
        out.truncate(position + equal)
        ours = ours[:equal]
    out.seek(position + len(ours))
    out.write(chunk[len(ours) :])
    out.flush()
    return position + len(chunk)


@contextmanager
def locked(part: Path) -> Iterator[BinaryIO]:
    """``part``, created when it is not there, for this process alone; ``BlockingIOError`` when another has it."""
    with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as out:
        fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it a moment ago may have finished and renamed it: what we then hold is the finished file.
        if not part.exists() or not os.path.samestat(os.fstat(out.fileno()), part.stat()):
            raise BlockingIOError
        yield out


def length_of(out: BinaryIO) -> int:
    """The file's length in bytes."""
    return os.fstat(out.fileno()).st_size


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")
