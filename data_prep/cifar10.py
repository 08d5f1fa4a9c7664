"""Preparing CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 colour pictures of ten kinds of things, as a pool.

Both of its official forms are read: the binary version, which is what gets downloaded, and the python version, whose
batches are pickles (``plain_pickle.py``). They hold the same pictures.
"""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console

from data_prep.download import Patience
from data_prep.official import OfficialFile, has_md5, obtain
from data_prep.plain_pickle import load_batch
from data_prep.prepared import Summary, write
from raysplit.errors import PopulationError
from raysplit.population.arrow_writer import ClientData

OFFICIAL = "https://www.cs.toronto.edu/~kriz"
SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
#: Twice what an official batch takes; a larger member of an archive is not one.
LARGEST = 64 << 20
CLASSES = "airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck"

ARCHIVES = {"binary": "cifar-10-binary.tar.gz", "python": "cifar-10-python.tar.gz"}
FOLDERS = {"binary": "cifar-10-batches-bin", "python": "cifar-10-batches-py"}
TEST = {"binary": "test_batch.bin", "python": "test_batch"}
TRAIN = {
    "binary": tuple(f"data_batch_{n}.bin" for n in range(1, 6)),
    "python": tuple(f"data_batch_{n}" for n in range(1, 6)),
}

#: md5 on the data set's page.
BINARY_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
PYTHON_MD5 = "c58f30108f718f92721af3b95e74349a"
#: md5 of the python batches as torchvision publishes them: training 1 to 5, test.
BATCH_MD5 = (
    "c99cafc152244af753f735de768cd75f",
    "d4bba439e000b95fd0a9bffe97cbabec",
    "54ebc095f3ab1f0389bbae665268c751",
    "634d18415352ddfa80567beed471001a",
    "482c414d41f54cd18b22e5b47cb7c3cb",
    "40351d587109b95175f43aff81a1287e",
)


def prepare(
    out: Path,
    *,
    source: Path | None = None,
    mirror: str | None = None,
    console: Console | None = None,
    patience: Patience | None = None,
) -> Summary:
    """Write CIFAR-10 to ``out`` as a pool in the official split, print what came out and return it.

    ``source`` is a folder with either official archive or what one unpacks to; without it the binary version is
    downloaded (from the folder URL ``mirror`` when given). Raises ``PopulationError`` or ``DownloadError``.
    """
    console = console or Console(stderr=True)
    archive = OfficialFile(
        ARCHIVES["binary"], f"{OFFICIAL}/{ARCHIVES['binary']}", md5=BINARY_MD5, starts_with=b"\x1f\x8b"
    )
    folder = obtain("cifar10", [archive], out, source=source, mirror=mirror, patience=patience, console=console)
    client, origin = read_cifar10(folder)
    return write(
        out,
        [client],
        name="cifar10",
        shape=SHAPE,
        classes=10,
        description=f"CIFAR-10 in the official split, from {origin}; classes {CLASSES}",
        pool=True,
        console=console,
    )


def read_cifar10(folder: Path) -> tuple[ClientData, str]:
    """The official split as one client, from the first form found in ``folder``, and which form that was, in words."""
    for form in ("binary", "python"):
        archive = folder / ARCHIVES[form]
        if archive.is_file():
            official = has_md5(archive, BINARY_MD5 if form == "binary" else PYTHON_MD5)
            return _client(dict(_members(archive, form)), form, str(archive), official)
        for place in (folder, folder / FOLDERS[form]):
            names = [*TRAIN[form], TEST[form]]
            if all((place / name).is_file() for name in names):
                batches = {name: _content(place / name) for name in names}
                official = form == "python" and all(
                    hashlib.md5(batches[name], usedforsecurity=False).hexdigest() == md5
                    for name, md5 in zip(names, BATCH_MD5, strict=True)
                )
                return _client(batches, form, str(place), official if form == "python" else None)
    raise PopulationError(
        f"{str(folder)!r} holds neither {ARCHIVES['binary']} nor {ARCHIVES['python']}, nor the batches of one of them"
    )


def _client(batches: dict[str, bytes], form: str, where: str, official: bool | None) -> tuple[ClientData, str]:
    if lacking := [name for name in (*TRAIN[form], TEST[form]) if name not in batches]:
        raise PopulationError(f"{where!r} lacks {', '.join(lacking)}; copy or download it again")
    parse = _parse_binary if form == "binary" else _parse_python
    parts = [parse(batches.pop(name), f"{where!r}: {name}") for name in (*TRAIN[form], TEST[form])]
    train_x, train_y = (np.concatenate(column) for column in zip(*parts[:-1], strict=True))
    test_x, test_y = parts[-1]
    version = {
        True: f"the official {form} version",
        False: f"a {form} version that is NOT the official one: its sums differ",
        None: f"an unpacked {form} version, of which no sums are published",
    }[official]
    return ClientData("cifar10", train_x, train_y, test_x, test_y), version


def _parse_binary(content: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one label and 3,072 pixels."""
    if not content or len(content) % (1 + PIXELS):
        raise PopulationError(
            f"{where} is no binary batch of CIFAR-10: {len(content):,} bytes are no whole rows of 3,073"
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + PIXELS)
    if rows[:, 0].max() > 9:
        raise PopulationError(f"{where} is no binary batch of CIFAR-10: it has the label {rows[:, 0].max()}")
    return rows[:, 1:].reshape(-1, *SHAPE), rows[:, 0].astype(np.int64)


def _parse_python(content: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    pixels, labels = load_batch(content, where)
    if pixels.shape[1] != PIXELS or not len(labels):
        raise PopulationError(f"{where} is no batch of CIFAR-10: its 'data' are {list(pixels.shape)}, not [n, 3072]")
    return pixels.reshape(-1, *SHAPE), labels


def _members(archive: Path, form: str) -> Iterator[tuple[str, bytes]]:
    """The batches in an archive, read in one pass and never unpacked to disk, whatever else it holds."""
    try:
        with tarfile.open(archive, "r|gz") as packed:
            for member in packed:
                folder, _, name = member.name.removeprefix("./").rpartition("/")
                if folder != FOLDERS[form] or name not in (*TRAIN[form], TEST[form]):
                    continue
                content = packed.extractfile(member) if member.isfile() and member.size <= LARGEST else None
                if content is None:
                    raise PopulationError(
                        f"{str(archive)!r}: {name} is no batch of CIFAR-10: it is too large or no file"
                    )
                yield name, content.read()
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        reason = " ".join(str(error).split())[:160].rstrip(".")
        raise PopulationError(f"{str(archive)!r} cannot be read ({reason}); copy or download it again") from error


def _content(file: Path) -> bytes:
    try:
        if file.stat().st_size > LARGEST:
            raise PopulationError(f"{str(file)!r} is no batch of CIFAR-10: it is larger than {LARGEST:,} bytes")
        return file.read_bytes()
    except OSError as error:
        raise PopulationError(f"{str(file)!r} cannot be read ({error.strerror}); copy it again") from error
