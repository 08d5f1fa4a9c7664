"""Preparing HAM10000 (Tschandl et al. 2018): 10,015 dermatoscopic pictures of 7,470 skin lesions in seven classes.

Several pictures show one lesion, so lesions are what is split: none is in both training and test set. The licence is
CC BY-NC 4.0; nothing of the data comes with RaySplit, and a prepared file is as little yours to pass on.
"""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from rich.console import Console

from data_prep.download import Patience
from data_prep.official import OfficialFile, obtain
from data_prep.pictures import check_side, read_picture
from data_prep.prepared import POOL, Summary, write
from data_prep.split import stratified
from raysplit.errors import PopulationError
from raysplit.population.arrow_writer import ClientData

OFFICIAL = "https://dataverse.harvard.edu/api/access/datafile"
#: The names in the data set's folder at Harvard Dataverse (doi:10.7910/DVN/DBW86T) and their numbers there.
PARTS = {"HAM10000_images_part_1.zip": "3172585", "HAM10000_images_part_2.zip": "3172584"}
TABLE = {"HAM10000_metadata.tab": "4338392"}
PICTURES = 10_015
CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
TABLES = ("HAM10000_metadata.csv", "HAM10000_metadata.tab", "HAM10000_metadata")


def prepare(
    out: Path,
    *,
    source: Path | None = None,
    mirror: str | None = None,
    size: int = 64,
    console: Console | None = None,
    seed: int = 0,
    patience: Patience | None = None,
) -> Summary:
    """Write HAM10000 to ``out`` as a pool of ``size`` × ``size`` pictures, print what came out and return it.

    ``source`` is a folder with the metadata (``.csv`` or ``.tab``) and the pictures, in the two official archives or
    unpacked; without it all are downloaded, 2.8 GB (from the folder URL ``mirror`` when given). There is no official
    split: a tenth of the lesions of each class is held out, with all their pictures, by a stream of ``seed``. A
    ``source`` whose metadata list fewer pictures is taken, and the description says how many there are. Raises
    ``PopulationError`` or ``DownloadError``.
    """
    check_side(size)
    console = console or Console(stderr=True)
    # Dataverse publishes no sums with its pages: that every picture of the metadata is there and decodes is the check.
    files = [OfficialFile(name, f"{OFFICIAL}/{number}", starts_with=b"PK") for name, number in PARTS.items()]
    files += [OfficialFile(name, f"{OFFICIAL}/{number}") for name, number in TABLE.items()]
    folder = obtain("ham10000", files, out, source=source, mirror=mirror, patience=patience, console=console)
    client, lesions = read_ham10000(folder, size=size, seed=seed)
    count = len(client.train_y) + len(client.test_y)
    different = "" if count == PICTURES else f" ({PICTURES:,} in the official set)"
    return write(
        out,
        [client],
        name="ham10000",
        shape=(3, size, size),
        classes=len(CLASSES),
        description=f"HAM10000 (CC BY-NC 4.0: not for redistribution), {count:,} pictures{different} of {lesions:,} lesions "
        f"resized to {size} × {size} whatever their shape; a tenth of the lesions of each class held out with seed "
        f"{seed}, there being no official split; classes {', '.join(CLASSES)}",
        pool=True,
        console=console,
    )


def read_ham10000(folder: Path, *, size: int, seed: int) -> tuple[ClientData, int]:
    """The pictures as one client, split by lesion, and how many lesions they show."""
    rows = _metadata(folder)
    y = np.array([CLASSES.index(dx) for _, _, dx in rows], dtype=np.int64)
    lesions, first, of = np.unique([lesion for lesion, _, _ in rows], return_index=True, return_inverse=True)
    if (y != y[first][of]).any():
        row = int(np.argmax(y != y[first][of]))
        raise PopulationError(f"{str(folder)!r}: the metadata give lesion {rows[row][0]!r} two diagnoses; mend them")
    # np.unique sorts the lesions, so the split does not depend on the order of the rows.
    test = stratified("ham10000 lesions", y[first], seed=seed)[of]
    read = _opener(folder, [image for _, image, _ in rows])
    x = np.empty((len(rows), 3, size, size), dtype=np.uint8)
    for row, (_, image, _) in enumerate(rows):
        x[row] = read_picture(read(image), f"{str(folder)!r}: {image}.jpg", size=size)
    return ClientData(POOL, x[~test], y[~test], x[test], y[test]), len(lesions)


def _metadata(folder: Path) -> list[tuple[str, str, str]]:
    """(lesion, image, diagnosis) of every picture, ordered by image."""
    for name in TABLES:
        file = folder / name
        if file.is_file():
            break
    else:
        raise PopulationError(
            f"{str(folder)!r} holds no {TABLES[0]} nor {TABLES[1]}; --from names the folder with it and the pictures"
        )
    try:
        with open(file, encoding="utf-8-sig", newline="") as text:
            head = text.readline()
            text.seek(0)
            rows = list(csv.DictReader(text, delimiter="\t" if "\t" in head else ","))
    except (OSError, ValueError, csv.Error) as error:
        raise PopulationError(f"{str(file)!r} cannot be read ({error}); copy or download it again") from error
    wanted = ("lesion_id", "image_id", "dx")
    seen: dict[str, tuple[str, str, str]] = {}
    for number, row in enumerate(rows, 2):
        lesion, image, dx = (row.get(column) or "" for column in wanted)
        if not lesion or not image or dx not in CLASSES or image in seen or "/" in image:
            raise PopulationError(
                f"{str(file)!r} is not the metadata of HAM10000: line {number} needs {', '.join(wanted)}, with an "
                f"image of its own and a dx of {', '.join(CLASSES)}"
            )
        seen[image] = (lesion, image, dx)
    if not seen:
        raise PopulationError(f"{str(file)!r} lists no pictures; copy or download it again")
    return [seen[image] for image in sorted(seen)]


def _opener(folder: Path, images: Iterable[str]) -> Callable[[str], bytes | Path]:
    """How to read a picture by its name; raises at once when one is nowhere."""
    places = [folder / name for name in ("images", "HAM10000_images_part_1", "HAM10000_images_part_2")]
    files = {file.stem: file for place in (folder, *places) if place.is_dir() for file in place.glob("*.jpg")}
    packed: dict[str, tuple[zipfile.ZipFile, zipfile.ZipInfo]] = {}
    for name in PARTS:
        if (folder / name).is_file():
            archive = _unzip(folder / name)
            for info in archive.infolist():
                if info.filename.endswith(".jpg"):
                    packed[Path(info.filename).stem] = archive, info
    lacking = [image for image in images if image not in files and image not in packed]
    if lacking:
        raise PopulationError(
            f"{str(folder)!r} lacks {len(lacking):,} pictures of the metadata, the first being {lacking[0]}.jpg; they "
            f"lie in {' and '.join(PARTS)} or in folders of these names"
        )

    def read(image: str) -> bytes | Path:
        if image in files:
            return files[image]
        archive, info = packed[image]
        try:
            if info.file_size > 1 << 26:
                raise zipfile.BadZipFile("a picture of more than 64 MiB")
            return archive.read(info)
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise PopulationError(
                f"{archive.filename!r}: {image}.jpg cannot be read ({error}); copy or download the archive again"
            ) from error

    return read


def _unzip(file: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except (OSError, zipfile.BadZipFile) as error:
        raise PopulationError(f"{str(file)!r} cannot be read ({error}); copy or download it again") from error
