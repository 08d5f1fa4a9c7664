"""Preparing EMNIST (Cohen et al. 2017): the digits and letters of NIST SD 19 in MNIST's format, turned upright, as a
pool.

The published files hold every image transposed, column by column as Matlab stores it: read as MNIST's are, characters
lie on their side, mirrored. Here rows are rows.
"""

from __future__ import annotations

import string
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from data_prep.download import Patience
from data_prep.idx import LARGEST, check_pair, find_part, parse_idx, unpacked, unreadable
from data_prep.official import OfficialFile, has_md5, obtain
from data_prep.prepared import Summary, write
from raysplit.errors import PopulationError, nearest
from raysplit.population.arrow_writer import ClientData
from raysplit.population.sets.emnist import SPLITS, EmnistSplit

#: Address and md5 as torchvision publishes them; the archive holds all six splits.
OFFICIAL = "https://biometrics.nist.gov/cs_links/EMNIST"
ARCHIVE = "gzip.zip"
ARCHIVE_MD5 = "58c8d27c78d21e728a6bc7b3cc06412e"

MERGED = string.digits + string.ascii_uppercase + "abdefghnqrt"
"""Capital and small letters that look alike are one class."""


@dataclass(frozen=True)
class Split:
    """What NIST's page says of a split: the character of each class, and how many samples there are. ``first``: the
    files' label of class 0."""

    classes: str
    samples: int
    first: int = 0


CONTENTS: dict[EmnistSplit, Split] = {
    "byclass": Split(string.digits + string.ascii_uppercase + string.ascii_lowercase, 814_255),
    "bymerge": Split(MERGED, 814_255),
    "balanced": Split(MERGED, 131_600),
    "letters": Split(string.ascii_uppercase, 145_600, first=1),
    "digits": Split(string.digits, 280_000),
    "mnist": Split(string.digits, 70_000),
}


def prepare(
    out: Path,
    *,
    split: EmnistSplit,
    source: Path | None = None,
    mirror: str | None = None,
    console: Console | None = None,
    patience: Patience | None = None,
) -> Summary:
    """Write a split of EMNIST to ``out`` as a pool, print what came out and return it.

    ``source`` is a folder with the official archive, or with the split's four files, gzipped or not (also as
    torchvision lays them out); without it the archive of all splits is downloaded, half a gigabyte (from the folder URL
    ``mirror`` when given). Raises ``PopulationError`` or ``DownloadError``.
    """
    if split not in SPLITS:
        raise PopulationError(f"emnist: there is no split {split!r}; {nearest(str(split), SPLITS)}")
    console = console or Console(stderr=True)
    archive = OfficialFile(ARCHIVE, f"{OFFICIAL}/{ARCHIVE}", md5=ARCHIVE_MD5, starts_with=b"PK")
    folder = obtain("emnist", [archive], out, source=source, mirror=mirror, patience=patience, console=console)
    client, origin = read_emnist(folder, split)
    of = CONTENTS[split]
    count = len(client.train_y) + len(client.test_y)
    different = "" if count == of.samples else f", {count:,} samples ({of.samples:,} in the official set)"
    return write(
        out,
        [client],
        name=f"emnist-{split}",
        shape=(1, *client.train_x.shape[2:]),
        classes=len(of.classes),
        description=f"EMNIST {split} in its official parts, turned upright, from {origin}{different}; classes "
        f"{' '.join(of.classes)}",
        pool=True,
        console=console,
    )


def read_emnist(folder: Path, split: EmnistSplit) -> tuple[ClientData, str]:
    """Training and test part as one client, upright, uint8 [n, 1, 28, 28], with labels from 0; and from what, in
    words."""
    places = [folder, folder / "gzip", folder / "raw", folder / "EMNIST" / "raw"]
    archive = next((place / ARCHIVE for place in places if (place / ARCHIVE).is_file()), None)
    if archive is None:
        contents, origin = _unpacked(places, split), "unpacked files, of which no sums are published"
    elif has_md5(archive, ARCHIVE_MD5):
        contents, origin = _packed(archive, split), "the official archive"
    else:
        contents, origin = _packed(archive, split), "an archive that is NOT the official one: its sum differs"
    train_x, train_y, test_x, test_y = (
        parse_idx(content, file, 3 if "idx3" in file else 1) for file, content in contents
    )
    of = CONTENTS[split]
    labels = range(of.first, of.first + len(of.classes))
    for x, y, part in ((train_x, train_y, "train"), (test_x, test_y, "test")):
        check_pair(x, y, f"{folder}: emnist-{split}-{part}", train_x.shape[1:], labels)
    name = f"emnist-{split}"
    return ClientData(name, _upright(train_x), train_y - of.first, _upright(test_x), test_y - of.first), origin


def _upright(x: np.ndarray) -> np.ndarray:
    """Images [n, W, H] whose columns were written as rows, as [n, 1, H, W]."""
    return np.ascontiguousarray(x.transpose(0, 2, 1))[:, None]


def _parts(split: EmnistSplit) -> list[str]:
    return [
        f"emnist-{split}-{part}-{kind}-ubyte" for part in ("train", "test") for kind in ("images-idx3", "labels-idx1")
    ]


def _unpacked(places: list[Path], split: EmnistSplit) -> Iterator[tuple[str, bytes]]:
    """File and content of each of the four parts."""
    for part in _parts(split):
        file = find_part(places, part, f"emnist, or {ARCHIVE}")
        try:
            with open(file, "rb") as handle:
                yield str(file), unpacked(handle, file.suffix == ".gz", str(file))
        except OSError as error:
            raise unreadable(str(file), error) from error


def _packed(archive: Path, split: EmnistSplit) -> Iterator[tuple[str, bytes]]:
    """The same from the archive, of which nothing is unpacked to disk."""
    try:
        with zipfile.ZipFile(archive) as packed:
            members = {member.filename.rpartition("/")[2]: member for member in packed.infolist()}
            for part in _parts(split):
                where = f"{archive}: {part}.gz"
                if f"{part}.gz" not in members:
                    raise PopulationError(f"{str(archive)!r} holds no {part}.gz; copy or download it again")
                if members[f"{part}.gz"].file_size > LARGEST:
                    raise PopulationError(f"{where!r} is larger than {LARGEST:,} bytes, which no such file is")
                with packed.open(members[f"{part}.gz"]) as handle:
                    yield where, unpacked(handle, True, where)
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, NotImplementedError) as error:
        raise unreadable(str(archive), error) from error
