"""The files that every node of a cluster must have before a scenario can be played there: which, and whether they are.

A population is named by its path, looked up on the machine that opens it, so a node without a shared disk has to be
given it once. A file that lies there already is never replaced: it may be another experiment's.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from raysplit.errors import UserError
from raysplit.parts.canonical import named_files
from raysplit.population.arrow import ArrowFile, OpenArrow, clients_file
from raysplit.scenario.scenario import Scenario

CHUNK_BYTES = 16 << 20
"""What is sent, held and written at once."""

State = Literal["there", "missing"]


@dataclass(frozen=True)
class NodeFile:
    """One file, or a population's two, under the name by which a node finds it.

    ``path``: as the scenario has it; ``digest``: of a population its content's, else the file's sha256.
    """

    path: str
    digest: str
    population: bool

    def place(self) -> Path:
        """Where it lies on the machine that asks."""
        return ArrowFile(self.path).file()

    def parts(self) -> list[Path]:
        """The files themselves, on the machine that asks; the last one makes a population complete."""
        place = self.place()
        return [place, clients_file(place)] if self.population else [place]

    def state(self) -> State:
        """Whether it is there. Raises ``OtherFile`` where something else has its place."""
        if not any(part.exists() for part in self.parts()):
            return "missing"
        if self.population and not clients_file(self.place()).exists():
            return "missing"  # samples without offsets: a copy that was broken off
        found = self._found()
        if found != self.digest:
            raise OtherFile(
                f"{str(self.place())!r} has the digest {found[:12]}... there and {self.digest[:12]}... here; remove it "
                "there, or set RAYSPLIT_DATA there to another folder"
            )
        return "there"

    def _found(self) -> str:
        if not self.population:
            return sha256_of(self.place())
        try:
            return OpenArrow(self.place()).info.digest
        except UserError:
            return "damaged"


class OtherFile(Exception):
    """A node has another file in a needed one's place."""


def node_files(scenario: Scenario) -> list[NodeFile]:
    """The populations in a scenario and the files that fields of its parts name, each once.

    What a population of the user's own opens besides, nobody can know.
    """
    found: dict[str, NodeFile] = {}
    for spec in _parts(scenario):
        if isinstance(spec, ArrowFile):
            found.setdefault(spec.path, NodeFile(spec.path, spec.open().info.digest, True))
        for path, digest in named_files(spec).items():
            found.setdefault(path, NodeFile(path, digest, False))
    return list(found.values())


def _parts(value: Any) -> Iterator[Any]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield value
        for field in dataclasses.fields(value):
            yield from _parts(getattr(value, field.name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _parts(item)
    elif isinstance(value, Mapping):
        yield from _parts(list(value.values()))


def sha256_of(file: Path) -> str:
    """Of a file's bytes, in hex."""
    digest = hashlib.sha256()
    for _, chunk in chunks_of(file):
        digest.update(chunk)
    return digest.hexdigest()


def chunks_of(file: Path) -> Iterator[tuple[int, bytes]]:
    """A file from its beginning: (offset, bytes), one chunk at a time."""
    with open(file, "rb") as handle:
        offset = 0
        while chunk := handle.read(CHUNK_BYTES):
            yield offset, chunk
            offset += len(chunk)


def begun(place: Path, token: str, size: int) -> None:
    """Make room beside ``place`` for a file that is to come. Raises ``OSError`` where there is none."""
    place.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(place.parent).free
    if free < size:
        raise OSError(f"{free >> 20} MB are free at {str(place.parent)!r}, {size >> 20} MB are needed")
    _incoming(place, token).touch()


def written(place: Path, token: str, offset: int, chunk: bytes) -> None:
    """Write a chunk; the same one twice is no harm."""
    with open(_incoming(place, token), "r+b") as handle:
        handle.seek(offset)
        handle.write(chunk)


def received(place: Path, token: str, sha256: str) -> None:
    """Put a file that has come whole into its place, in one step. Raises ``OSError`` where a bit differs."""
    incoming = _incoming(place, token)
    try:
        if sha256_of(incoming) != sha256:
            raise OSError(f"{str(place)!r} did not arrive whole")
        with open(incoming, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(incoming, place)
    finally:
        incoming.unlink(missing_ok=True)


def dropped(place: Path, token: str) -> None:
    """Remove what has come of a file that will not be complete."""
    _incoming(place, token).unlink(missing_ok=True)


def _incoming(place: Path, token: str) -> Path:
    return place.with_name(f".{place.name}.{token}")
