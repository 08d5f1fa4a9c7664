"""Preparing the AT&T (ORL) faces (Samaria & Harter 1994): ten pictures each of 40 people; the class is the person."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from data_prep.download import Patience
from data_prep.official import OfficialFile, obtain
from data_prep.prepared import Summary, write
from data_prep.split import split_client
from raysplit.errors import PopulationError
from raysplit.population.arrow_writer import ClientData

OFFICIAL = "https://www.cl.cam.ac.uk/research/dtg/attarchive/pub/data"
ARCHIVE = "att_faces.zip"
PEOPLE, PICTURES = 40, 10
HEIGHT, WIDTH = 112, 92


def prepare(
    out: Path,
    *,
    source: Path | None = None,
    mirror: str | None = None,
    pool: bool = False,
    console: Console | None = None,
    seed: int = 0,
    patience: Patience | None = None,
) -> Summary:
    """Write the faces to ``out``, a client a person (or all as one with ``pool``), print what came out and return it.

    ``source`` is a folder with ``att_faces.zip`` or with the folders ``s1`` to ``s40``; without it the archive is
    downloaded (from the folder URL ``mirror`` when given). There is no official split: of each person's ten pictures
    one is held out by a stream of ``seed``, the same one in a pool. Raises ``PopulationError`` or ``DownloadError``.
    """
    console = console or Console(stderr=True)
    # Nobody publishes a sum of the archive: that all 400 pictures are there and of the right size is what is checked.
    archive = OfficialFile(ARCHIVE, f"{OFFICIAL}/{ARCHIVE}", starts_with=b"PK")
    folder = obtain("att_faces", [archive], out, source=source, mirror=mirror, patience=patience, console=console)
    return write(
        out,
        read_faces(folder, seed=seed),
        name="att_faces",
        shape=(1, HEIGHT, WIDTH),
        classes=PEOPLE,
        description="AT&T faces, class k is person s(k+1); one picture of each held out with "
        f"seed {seed}, there being no official split",
        pool=pool,
        console=console,
    )


def read_faces(folder: Path, *, seed: int) -> Iterator[ClientData]:
    """The people as clients s1 to s40, each with the pictures 1 to 10 in that order before the split."""
    read = _opener(folder)
    for person in range(1, PEOPLE + 1):
        names = [f"s{person}/{number}.pgm" for number in range(1, PICTURES + 1)]
        pictures = [parse_pgm(read(name), f"{str(folder)!r}: {name}") for name in names]
        if len({picture.shape for picture in pictures}) > 1:
            raise PopulationError(f"{str(folder)!r}: s{person} has pictures of more than one size; copy them again")
        x = np.stack(pictures)
        if x.shape[1:] != (HEIGHT, WIDTH):
            raise PopulationError(
                f"{str(folder)!r}: s{person} has pictures of {x.shape[2]} × {x.shape[1]} pixels, not {WIDTH} × {HEIGHT}"
            )
        yield split_client(f"s{person}", x[:, None], np.full(PICTURES, person - 1), seed=seed)


def parse_pgm(content: bytes, where: str) -> np.ndarray:
    """A binary PGM of bytes (``P5``, comments allowed) as uint8 [H, W]."""
    head = re.match(rb"P5((?:\s+|#[^\n]*\n)+)(\d{1,5})\s+(?:#[^\n]*\n)*(\d{1,5})\s+(?:#[^\n]*\n)*255\s", content)
    if head is None:
        raise PopulationError(f"{where} is no binary PGM with 8 bits a pixel; copy or download it again")
    width, height = int(head[2]), int(head[3])
    pixels = np.frombuffer(content, np.uint8, offset=head.end())
    if len(pixels) != width * height:
        raise PopulationError(
            f"{where} has {len(pixels):,} pixels where it promises {width} × {height}; copy or download it again"
        )
    return pixels.reshape(height, width)


def _from_folder(place: Path, name: str) -> bytes:
    try:
        return (place / name).read_bytes()
    except OSError as error:
        raise PopulationError(
            f"{str(place / name)!r} cannot be read ({error.strerror}); the set has {PEOPLE} × {PICTURES} pictures"
        ) from error


def _opener(folder: Path) -> Callable[[str], bytes]:
    """How to read ``sN/M.pgm``: from a folder of them, or from the archive."""
    for place in (folder, folder / "orl_faces", folder / "att_faces"):
        if (place / "s1").is_dir():
            return partial(_from_folder, place)
    archive = folder / ARCHIVE
    if not archive.is_file():
        raise PopulationError(
            f"{str(folder)!r} holds neither {ARCHIVE} nor the folders s1 to s{PEOPLE}; --from names the folder with "
            "them"
        )

    try:
        packed = zipfile.ZipFile(archive)
    except (OSError, zipfile.BadZipFile) as error:
        raise _unreadable(archive, error) from error
    found = {info.filename.removeprefix("att_faces/").removeprefix("orl_faces/"): info for info in packed.infolist()}

    def member(name: str) -> bytes:
        if name not in found or found[name].file_size > 1 << 20:
            raise PopulationError(f"{str(archive)!r} holds no {name}; copy or download it again")
        try:
            return packed.read(found[name])
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise _unreadable(archive, error) from error

    return member


def _unreadable(archive: Path, error: Exception) -> PopulationError:
    reason = " ".join(str(error).split())[:160].rstrip(".")
    return PopulationError(f"{str(archive)!r} cannot be read ({reason}); copy or download it again")
