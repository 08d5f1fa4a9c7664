"""Preparing pictures of one's own: a folder with a folder of pictures for each class, and clients above them or not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from data_prep.pictures import SUFFIXES, check_side, read_picture
from data_prep.prepared import POOL, Summary, write
from data_prep.split import split_client, split_stratified
from raysplit.errors import PopulationError
from raysplit.population.arrow_writer import ClientData


@dataclass(frozen=True)
class _Reading:
    """How pictures are read, the classes that their folders name, and the shape that the first of them had."""

    size: int | None
    grey: bool
    classes: tuple[str, ...]
    shape: tuple[int, int, int]


def prepare(
    out: Path,
    *,
    source: Path | None = None,
    by_client: bool = False,
    pool: bool = False,
    size: int | None = None,
    grey: bool = False,
    console: Console | None = None,
    seed: int = 0,
) -> Summary:
    """Write the pictures of folder ``source`` to ``out``, print what came out and return it.

    The layout is ``CLASS/*.png`` (a pool), or ``CLIENT/CLASS/*.png`` with ``by_client``; both may stand in folders
    ``train/`` and ``test/``, which are then the split. Otherwise a tenth is held out by a stream of ``seed``: of each
    class in a pool, of each client's pictures with ``by_client``. ``size``: resize all to that side; without it they
    must have one size. ``grey``: one channel instead of three. ``pool``: clients become one after the split. Classes
    are numbered in the order of their names. Raises ``PopulationError`` naming the file.
    """
    if source is None or not source.is_dir():
        raise PopulationError(
            f"there is no folder {str(source)!r} of pictures"
            if source is not None
            else "image_folder prepares pictures of your own: name their folder with --from"
        )
    if size is not None:
        check_side(size)
    console = console or Console(stderr=True)
    split = (source / "train").is_dir() and (source / "test").is_dir()
    roots = (source / "train", source / "test") if split else (source,)
    owners = {root: _folders(root) if by_client else [root] for root in roots}
    classes = tuple(sorted({path.name for root in roots for owner in owners[root] for path in _folders(owner)}))
    if not classes:
        wanted = "CLIENT/CLASS/PICTURE" if by_client else "CLASS/PICTURE"
        raise PopulationError(f"{str(source)!r} has no folders of the layout {wanted}; see docs/data-sets.md")
    first = next((file for root in roots for owner in owners[root] for file, _ in _files(owner, classes)), None)
    if first is None:
        raise PopulationError(f"{str(source)!r} has no pictures ({', '.join(SUFFIXES)}) in its folders")
    channels, height, width = read_picture(first, repr(str(first)), size=size, grey=grey).shape
    shape = (channels, height, width)
    reading = _Reading(size, grey, classes, shape)
    clients = (
        _split_clients(owners[source / "train"], owners[source / "test"], reading, by_client)
        if split
        else _own_clients(owners[source], reading, by_client, seed)
    )
    how = "train/ and test/ kept as the split" if split else f"split nine to one with seed {seed}"
    sides = f"resized to {size} × {size}" if size is not None else "in their own size"
    return write(
        out,
        clients,
        name=out.name.removesuffix(".arrow"),
        shape=shape,
        classes=len(classes),
        description=f"pictures of {source.name!r} {sides}, {how}; classes {', '.join(classes)}",
        pool=pool or not by_client,
        console=console,
    )


def _own_clients(owners: Iterable[Path], reading: _Reading, by_client: bool, seed: int) -> Iterator[ClientData]:
    for owner in owners:
        x, y = _read(owner, reading)
        if not len(y):
            raise PopulationError(f"{str(owner)!r} has no pictures; take the folder away")
        yield split_client(owner.name, x, y, seed=seed) if by_client else split_stratified(POOL, x, y, seed=seed)


def _split_clients(train: list[Path], test: list[Path], reading: _Reading, by_client: bool) -> Iterator[ClientData]:
    """Clients by the names of their folders, or the pool whose folders ``train`` and ``test`` are."""
    tests = {owner.name if by_client else POOL: owner for owner in test}
    for owner in train:
        name = owner.name if by_client else POOL
        x, y = _read(owner, reading)
        if not len(y):
            raise PopulationError(f"{str(owner)!r} has no pictures; take the folder away")
        other = tests.pop(name, None)
        test_x, test_y = _read(other, reading) if other is not None else (x[:0], y[:0])
        yield ClientData(name, x, y, test_x, test_y)
    for owner in tests.values():
        raise PopulationError(f"{str(owner)!r} is a client with test pictures only; it needs training pictures too")


def _read(owner: Path, reading: _Reading) -> tuple[np.ndarray, np.ndarray]:
    """All pictures of a client: uint8 [n, C, H, W] and int64 [n], by class, then by name."""
    x: list[np.ndarray] = []
    y: list[int] = []
    for file, label in _files(owner, reading.classes):
        pixels = read_picture(file, repr(str(file)), size=reading.size, grey=reading.grey)
        if pixels.shape != reading.shape:
            ours, theirs = (f"{shape[2]} × {shape[1]}" for shape in (pixels.shape, reading.shape))
            raise PopulationError(f"{str(file)!r} has {ours} pixels, the first picture {theirs}; give all one --size")
        x.append(pixels)
        y.append(label)
    return np.stack(x) if x else np.empty((0, *reading.shape), np.uint8), np.array(y, dtype=np.int64)


def _files(owner: Path, classes: tuple[str, ...]) -> Iterator[tuple[Path, int]]:
    for label, name in enumerate(classes):
        if (owner / name).is_dir():
            for file in sorted((owner / name).iterdir()):
                if file.suffix.lower() in SUFFIXES and not file.name.startswith("."):
                    yield file, label


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
