"""Preparing pictures of one's own: a folder with a folder of pictures for each class, and clients above them or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from data_prep.picture_folders import Found, Owner, find_pictures
from data_prep.picture_table import find_rows, first_picture, read_clients, shards_of
from data_prep.pictures import check_side, read_picture
from data_prep.prepared import POOL, Summary, write
from data_prep.split import split_client, split_stratified
from raysplit.errors import PopulationError
from raysplit.population.arrow_writer import ClientData

NAMED = 5
"""How many of the files that were left out a description names; it counts the others."""


@dataclass(frozen=True)
class _Reading:
    """How pictures are read, the number of each class, and the shape that the first picture had."""

    size: int | None
    grey: bool
    label: dict[str, int]
    shape: tuple[int, int, int]


def prepare(
    out: Path,
    *,
    source: Path | None = None,
    by_client: bool = False,
    pool: bool = False,
    size: int | None = None,
    grey: bool = False,
    label: str | None = None,
    client: str | None = None,
    console: Console | None = None,
    seed: int = 0,
) -> Summary:
    """Write the pictures of folder ``source`` to ``out``, print what came out and return it.

    The layout is ``CLASS/*.png`` (a pool), or ``CLIENT/CLASS/*.png`` with ``by_client``; both may be in folders
    ``train/`` and ``test/`` (or ``val/``), which are then the split. Otherwise a tenth is held out by a stream of
    ``seed``: of each class in a pool, of each client's pictures with ``by_client``. ``size``: resize all to that side;
    without it they must have one size. ``grey``: one channel instead of three. ``pool``: clients become one after the
    split. Classes and clients are numbered in the order of their names, as numbers when all of them are.

    ``source`` may also be a Parquet file of encoded pictures, or a folder of such shards (``data_prep.picture_table``):
    ``label`` is then the column of classes (default ``label``), ``client`` the one that says whose picture it is. What
    is read and what is refused is in docs/data-sets.md; raises ``PopulationError`` naming the file.
    """
    console = console or Console(stderr=True)
    shards = shards_of(source) if source is not None and source.exists() else []
    if source is not None and shards:
        if by_client:
            raise PopulationError(f"--by-client is about folders, but {str(source)!r} holds a table; name its --client")
        return _prepare_table(out, source, shards, label, client, pool, size, grey, console, seed)
    if label is not None or client is not None:
        given = "--label" if label is not None else "--client"
        raise PopulationError(f"{given} names a column of a table, but {str(source)!r} holds none; leave it out")
    if source is None or not source.is_dir():
        if source is None:
            raise PopulationError("image_folder prepares pictures of your own: name their folder with --from")
        what = "is a file; unpack it and name the folder" if source.is_file() else ""
        raise PopulationError(f"{str(source)!r} {what}" if what else f"there is no folder {str(source)!r} of pictures")
    if size is not None:
        check_side(size)
    found = find_pictures(source, by_client)
    first = next(file for owner in (*found.train, *(found.test or ())) for file, _ in owner.pictures)
    channels, height, width = read_picture(first, repr(str(first)), size=size, grey=grey).shape
    shape = (channels, height, width)
    reading = _Reading(size, grey, {name: number for number, name in enumerate(found.classes)}, shape)
    how = found.split or f"split nine to one with seed {seed}"
    sides = f"resized to {size} × {size}" if size is not None else "in their own size"
    classes = f"classes {', '.join(found.classes)}, numbered from 0"
    return write(
        out,
        _split_clients(found, reading, by_client) if found.split else _own_clients(found, reading, by_client, seed),
        name=out.name.removesuffix(".arrow"),
        shape=shape,
        classes=len(found.classes),
        description=f"pictures of {source.name!r} {sides}, {how}; {classes}{_in_words(found.left_out)}",
        pool=pool or not by_client,
        console=console,
    )


def _prepare_table(
    out: Path,
    source: Path,
    shards: list[Path],
    label: str | None,
    client: str | None,
    pool: bool,
    size: int | None,
    grey: bool,
    console: Console,
    seed: int,
) -> Summary:
    if size is not None:
        check_side(size)
    table = find_rows(shards, label, client)
    channels, height, width = first_picture(table, size, grey).shape
    shape = (channels, height, width)
    how = f"the split of its shards{table.left_out}" if "test" in table.parts else f"split nine to one with seed {seed}"
    sides = f"resized to {size} × {size}" if size is not None else "in their own size"
    whose = f"clients by column {client!r}" if client is not None else "no clients"
    return write(
        out,
        read_clients(table, shape, size=size, grey=grey, seed=seed),
        name=out.name.removesuffix(".arrow"),
        shape=shape,
        classes=len(table.classes),
        description=f"pictures of table {source.name!r} {sides}, {whose}, {how}; classes {', '.join(table.classes)}, "
        "numbered from 0",
        pool=pool or client is None,
        console=console,
    )


def _own_clients(found: Found, reading: _Reading, by_client: bool, seed: int) -> Iterator[ClientData]:
    for owner in found.train:
        x, y = _filled(owner, reading)
        yield split_client(owner.name, x, y, seed=seed) if by_client else split_stratified(POOL, x, y, seed=seed)


def _split_clients(found: Found, reading: _Reading, by_client: bool) -> Iterator[ClientData]:
    """Clients by the names of their folders, or the pool whose training and test part there are."""
    tests = {owner.name: owner for owner in found.test or ()}
    names = {owner.name for owner in found.train}
    if test_only := next((owner for owner in tests.values() if owner.name not in names), None):
        raise PopulationError(
            f"{str(test_only.folder)!r} is a client with test pictures only; it needs training pictures too"
        )
    for owner in found.train:
        x, y = _filled(owner, reading)
        test_x, test_y = _read(tests[owner.name], reading) if owner.name in tests else (x[:0], y[:0])
        yield ClientData(owner.name if by_client else POOL, x, y, test_x, test_y)


def _filled(owner: Owner, reading: _Reading) -> tuple[np.ndarray, np.ndarray]:
    if not owner.pictures:
        raise PopulationError(f"{str(owner.folder)!r} has no pictures; take the folder away")
    return _read(owner, reading)


def _read(owner: Owner, reading: _Reading) -> tuple[np.ndarray, np.ndarray]:
    """All pictures of a client: uint8 [n, C, H, W] and int64 [n], by class, then by name."""
    pictures = sorted(owner.pictures, key=lambda picture: reading.label[picture[1]])
    x = np.empty((len(pictures), *reading.shape), np.uint8)
    for row, (file, _) in enumerate(pictures):
        pixels = read_picture(file, repr(str(file)), size=reading.size, grey=reading.grey)
        if pixels.shape != reading.shape:
            here, first = (f"{shape[2]} × {shape[1]}" for shape in (pixels.shape, reading.shape))
            raise PopulationError(f"{str(file)!r} has {here} pixels, the first picture {first}; give all one --size")
        x[row] = pixels
    return x, np.array([reading.label[name] for _, name in pictures], dtype=np.int64)


def _in_words(left_out: Sequence[str]) -> str:
    """The end of a description: what was left out, the first ``NAMED`` by name."""
    if not left_out:
        return ""
    others = len(left_out) - NAMED
    named = ", ".join(left_out[:NAMED])
    return f"; left out, being no pictures: {named}" + (f" and {others:,} more" if others > 0 else "")
