"""Writers and their characters from NIST Special Database 19, matched as LEAF (Caldas et al. 2018) matches them.

``by_class.zip`` knows each image's class, ``by_write.zip`` its writer, and both hold the same PNG files: so an image of
a writer has the class of the ``by_class`` image with the same bytes (md5). Members are read one by one; nothing is
unpacked to disk.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from raysplit.errors import PopulationError

SIDE = 28
# by_class/4a/hsf_0/hsf_0_00000.png; the folders train_4a repeat images of the hsf folders, *.mit are lists.
_BY_CLASS = re.compile(r"by_class/([0-9a-f]{2})/(?=[^/]*hsf)(?![^/]*mit)[^/]+/[^/]+\.png", re.ASCII)
# by_write/hsf_0/f0000_14/c0000_14/c0000_14_00000.png
_BY_WRITE = re.compile(r"by_write/[^/]+/([^/]+)/[^/]+/[^/]+\.png", re.ASCII)
_LARGEST_PNG = 1 << 20


class Writer(NamedTuple):
    """One writer's characters: ``x`` uint8 [n, 1, 28, 28], background 255, ink 0; ``y`` int64 [n] in 0..61."""

    name: str
    x: np.ndarray
    y: np.ndarray


def read_writers(by_class: Path, by_write: Path, progress: Callable[[str, int, int], None]) -> Iterator[Writer]:
    """Every writer in order of name, each with all characters in order of their paths.

    ``progress(what, done, total)`` is called for every image. Raises ``PopulationError`` for an archive that is damaged
    or of another layout, and for an image that has no match.
    """
    classes = _class_of_each_image(by_class, progress)
    with _archive(by_write) as archive:
        writers: dict[str, list[zipfile.ZipInfo]] = {}
        for member, found in _members(archive, _BY_WRITE, "by_write/hsf_*/WRITER/*/*.png", by_write):
            writers.setdefault(found, []).append(member)
        total, done = sum(map(len, writers.values())), 0
        for name in sorted(writers):
            members = sorted(writers.pop(name), key=lambda member: member.filename)
            x = np.empty((len(members), 1, SIDE, SIDE), dtype=np.uint8)
            y = np.empty(len(members), dtype=np.int64)
            for row, member in enumerate(members):
                png = _read(archive, member, by_write)
                label = classes.get(hashlib.md5(png, usedforsecurity=False).digest())
                if label is None:
                    raise PopulationError(
                        f"{str(by_write)!r}: {member.filename!r} is in no class of {by_class.name!r}; the two archives "
                        "must be complete and of one edition, so download both again"
                    )
                x[row, 0], y[row] = _pixels(png, member, by_write), label
                done += 1
            progress("converting", done, total)
            yield Writer(name, x, y)


def class_index(folder: str) -> int:
    """The class of a ``by_class`` folder, which is an ASCII code in hexadecimal: 0-9, A-Z, a-z become 0..61.

    Raises ``ValueError`` for the code of any other character.
    """
    character = chr(int(folder, 16))
    if "0" <= character <= "9":
        return ord(character) - ord("0")
    if "A" <= character <= "Z":
        return ord(character) - ord("A") + 10
    if "a" <= character <= "z":
        return ord(character) - ord("a") + 36
    raise ValueError(f"{folder!r} is the code of {character!r}, neither a digit nor a letter")


def _class_of_each_image(by_class: Path, progress: Callable[[str, int, int], None]) -> dict[bytes, int]:
    """The class of every image by its md5; an image that lies in two classes has the first in order of path."""
    classes: dict[bytes, int] = {}
    with _archive(by_class) as archive:
        members = _members(archive, _BY_CLASS, "by_class/HEX/hsf_*/*.png", by_class)
        members.sort(key=lambda pair: pair[0].filename)
        for done, (member, folder) in enumerate(members, start=1):
            try:
                label = class_index(folder)
            except ValueError as error:
                raise PopulationError(f"{str(by_class)!r} has a class that FEMNIST does not know: {error}") from error
            png = _read(archive, member, by_class)
            classes.setdefault(hashlib.md5(png, usedforsecurity=False).digest(), label)
            if done % 1000 == 0 or done == len(members):
                progress("matching", done, len(members))
    return classes


def _pixels(png: bytes, member: zipfile.ZipInfo, archive: Path) -> np.ndarray:
    """The image in grey, 28 x 28, by Lanczos resampling of the whole square."""
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            wide, high = image.size
            # A header can promise any size: look before the pixels are decoded.
            if wide != high or not SIDE <= wide <= 1024:
                raise ValueError(f"it is {wide} x {high} pixels, not a square of at least {SIDE}")
            # resize, not thumbnail as in LEAF's code: since Pillow 7 thumbnail first shrinks by a box filter.
            return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    except (OSError, ValueError, SyntaxError, zlib.error, Image.DecompressionBombError) as error:
        raise PopulationError(
            f"{str(archive)!r}: {member.filename!r} is not a readable character ({error}); download the archive again"
        ) from error


@contextmanager
def _archive(file: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise PopulationError(
            f"{str(file)!r} is not a readable zip archive ({error}); delete it and download it again"
        ) from error
    with archive:
        yield archive


def _members(
    archive: zipfile.ZipFile, pattern: re.Pattern[str], layout: str, file: Path
) -> list[tuple[zipfile.ZipInfo, str]]:
    """The archive's images, each with the class or writer that its path names."""
    found = [(member, match[1]) for member in archive.infolist() if (match := pattern.fullmatch(member.filename))]
    if not found:
        raise PopulationError(f"{str(file)!r} holds no {layout}; it is not the archive of NIST SD 19 of that name")
    return found


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: Path) -> bytes:
    try:
        if member.file_size > _LARGEST_PNG:
            raise ValueError(f"it is {member.file_size:,} bytes, which no character is")
        return archive.read(member)
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, RuntimeError, EOFError) as error:
        raise PopulationError(
            f"{str(file)!r}: {member.filename!r} cannot be read ({error}); delete the archive and download it again"
        ) from error
