"""MNIST's file format (idx: a magic number, big-endian sizes, bytes) and the data sets that come in four such files."""

from __future__ import annotations

import gzip
import hashlib
import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from data_prep.official import OfficialFile
from raysplit.errors import PopulationError
from raysplit.population.arrow_writer import ClientData

#: No set of this layout is larger; what claims to be is refused before it fills the memory.
LARGEST = 1 << 30
PARTS = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@dataclass(frozen=True)
class IdxSet:
    """A data set of MNIST's layout: where torchvision finds it, and the sums of its four files in order of ``PARTS``.

    ``packed``: sha256 of the .gz as published; ``content``: sha256 of what is inside.
    """

    name: str
    folder: str
    packed: tuple[str, str, str, str]
    content: tuple[str, str, str, str]

    def files(self, address: str) -> list[OfficialFile]:
        """The four published files at ``address``."""
        return [
            OfficialFile(f"{part}.gz", f"{address}/{part}.gz", sha256=sha256, starts_with=b"\x1f\x8b")
            for part, sha256 in zip(PARTS, self.packed, strict=True)
        ]


def read_set(idx: IdxSet, folder: Path) -> tuple[ClientData, bool]:
    """The official split as one client, and whether every file is to the last bit the published one.

    ``folder`` holds the four files, plain or gzipped, directly or as torchvision lays them out (``raw/``,
    ``NAME/raw/``). Images become uint8 [n, 1, H, W]. Raises ``PopulationError`` naming the file.
    """
    places = (folder, folder / "raw", folder / idx.folder / "raw")
    files = [find_part(places, part, idx.name) for part in PARTS]
    contents = [_content(file) for file in files]
    official = all(
        hashlib.sha256(content).hexdigest() == sum for content, sum in zip(contents, idx.content, strict=True)
    )
    train_x, train_y, test_x, test_y = (
        parse_idx(content, file, 3 if "idx3" in part else 1)
        for content, file, part in zip(contents, files, PARTS, strict=True)
    )
    for x, y, file in ((train_x, train_y, files[0]), (test_x, test_y, files[2])):
        check_pair(x, y, str(file), train_x.shape[1:], range(10))
    return ClientData(idx.name, train_x[:, None], train_y, test_x[:, None], test_y), official


def check_pair(x: np.ndarray, y: np.ndarray, file: str, shape: tuple[int, ...], labels: range) -> None:
    """Raise ``PopulationError`` unless images ``x`` of ``shape`` and labels ``y``, within ``labels``, are of one
    set."""
    if len(x) != len(y) or not len(x) or x.shape[1:] != shape or y.min() < labels.start or y.max() >= labels.stop:
        span = f"from {int(y.min(initial=255))} " if labels.start else ""
        raise PopulationError(
            f"{file!r} and its labels do not belong together: {len(x)} images {list(x.shape[1:])} and "
            f"{len(y)} labels {span}up to {int(y.max(initial=0))}; take all four files from one source"
        )


def parse_idx(content: bytes, file: Path | str, dimensions: int) -> np.ndarray:
    """An idx file of unsigned bytes as a uint8 array of so many dimensions; ``file`` is what an error names."""
    head = 4 + 4 * dimensions
    if content[:4] != bytes([0, 0, 8, dimensions]) or len(content) < head:
        raise PopulationError(
            f"{str(file)!r} is no idx file of bytes in {dimensions} dimensions; copy or download it again"
        )
    shape = tuple(int(side) for side in np.frombuffer(content, ">u4", dimensions, 4))
    if math.prod(shape) != len(content) - head:
        raise PopulationError(
            f"{str(file)!r} promises {' × '.join(map(str, shape))} bytes, but holds {len(content) - head:,}; copy or "
            "download it again"
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def find_part(places: Sequence[Path], part: str, name: str) -> Path:
    """The file ``part``, plain or gzipped, in the first of ``places`` that has it; ``name``: of the data set."""
    for place in places:
        for file in (place / part, place / f"{part}.gz"):
            if file.is_file():
                return file
    raise PopulationError(
        f"{str(places[0])!r} holds no {part}, nor {part}.gz; --from names the folder with the four files of {name}"
    )


def _content(file: Path) -> bytes:
    try:
        with open(file, "rb") as handle:
            return unpacked(handle, file.suffix == ".gz", str(file))
    except OSError as error:
        raise unreadable(str(file), error) from error


def unpacked(handle: IO[bytes], gzipped: bool, file: str) -> bytes:
    """What is in an open file, which may be gzipped; ``file`` is what an error names. Raises ``PopulationError`` for one
    that is damaged, or larger than ``LARGEST`` when it is unpacked."""
    try:
        with gzip.GzipFile(fileobj=handle) if gzipped else handle as inside:
            content = bytes(inside.read(LARGEST + 1))
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise unreadable(file, error) from error
    if len(content) > LARGEST:
        raise PopulationError(f"{file!r} unpacks to more than {LARGEST:,} bytes, which no such file does")
    return content


def unreadable(file: str, error: Exception) -> PopulationError:
    reason = " ".join(str(error).split())[:160].rstrip(".")
    return PopulationError(f"{file!r} cannot be read ({reason}); copy or download it again")
