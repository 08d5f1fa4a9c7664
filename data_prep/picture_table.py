"""Pictures in a table, as hubs publish them: Parquet shards with a column of encoded pictures and one of labels.

A cell of pictures is a struct ``{"bytes": ..., "path": ...}`` or the bytes themselves. The shards of a part of a split
say so in their names (``train-00000-of-00002.parquet``) or in those of their folders (``train/0000.parquet``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.picture_folders import PARTS, is_litter
from data_prep.pictures import SUFFIXES, read_picture
from data_prep.prepared import POOL
from data_prep.split import split_client, split_stratified
from data_prep.table_columns import check_filled, to_codes
from raysplit.errors import PopulationError, nearest
from raysplit.population.arrow_writer import ClientData

LABEL = "label"
BATCH = 256
"""Rows of encoded pictures in memory at a time."""


@dataclass(frozen=True)
class PictureTable:
    """Shards by part (``train``, and ``test`` where there is a split) and what their columns are.

    ``codes``: class and client of every row, int64 [rows] each, of the parts one after another.
    """

    parts: dict[str, tuple[Path, ...]]
    image: str
    classes: tuple[str, ...]
    owners: tuple[str, ...]
    y: np.ndarray
    owner: np.ndarray
    left_out: str


def shards_of(source: Path) -> list[Path]:
    """The Parquet files that ``source`` is or holds; none when it holds picture files, for then they are what counts."""
    if source.is_file():
        return [source] if source.suffix.lower() == ".parquet" else []
    files = [path for path in sorted(source.rglob("*")) if not is_litter(path)]
    pictures = any(path.suffix.lower() in SUFFIXES for path in files)
    return [] if pictures else [path for path in files if path.suffix.lower() == ".parquet"]


def find_rows(shards: list[Path], label: str | None, client: str | None) -> PictureTable:
    """What the shards hold; raises ``PopulationError`` for columns that are missing, incomplete or not alike."""
    parts, left_out = _parts(shards)
    schemas = {file: _schema(file) for files in parts.values() for file in files}
    first, schema = next(iter(schemas.items()))
    image, label = _image_column(schema, first), label or LABEL
    names = [label] if client is None else [label, client]
    for file, other in schemas.items():
        for option, name in (("--label", label), ("--client", client), ("pictures", image)):
            if name is not None and name not in other.names:
                raise PopulationError(
                    f"{str(file)!r} has no column {name!r} for {option}; {nearest(name, other.names)}"
                )
    try:
        table = pa.concat_tables([pq.read_table(file, columns=names) for file in schemas], promote_options="permissive")
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _unreadable(first, error) from error
    where = repr(str(first.parent if len(schemas) > 1 else first))
    if not table.num_rows:
        raise PopulationError(f"{where} has no rows")
    check_filled(table, names, names, where)
    y, classes = _classes(table.column(label), schema, label, where)
    owner, owners = np.zeros(table.num_rows, dtype=np.int64), tuple[str, ...]()
    if client is not None:
        owner, owners = to_codes(table.column(client), f"{where}: column {client!r} of --client")
    return PictureTable(parts, image, classes, owners, y, owner, left_out)


def read_clients(
    table: PictureTable, shape: tuple[int, int, int], *, size: int | None, grey: bool, seed: int
) -> Iterator[ClientData]:
    """The clients of column ``--client``, or the pool; split as the parts say, or nine to one by a stream of ``seed``."""
    x = {part: _pictures(table, part, shape, size, grey) for part in table.parts}
    train, rows = len(x["train"]), np.arange(len(table.y))
    for code, name in enumerate(table.owners or (POOL,)):
        own = rows[table.owner == code]
        first, later = own[own < train], own[own >= train] - train
        if "test" in table.parts:
            if not len(first):
                raise PopulationError(f"client {name!r} has test pictures only; it needs training pictures too")
            yield ClientData(name, x["train"][first], table.y[first], x["test"][later], table.y[later + train])
        elif table.owners:
            yield split_client(name, x["train"][first], table.y[first], seed=seed)
        else:
            yield split_stratified(name, x["train"][first], table.y[first], seed=seed)


def first_picture(table: PictureTable, size: int | None, grey: bool) -> np.ndarray:
    """The first row's picture, uint8 [C, H, W], whose shape all others must have."""
    content, where = next(_encoded(table.parts["train"], table.image))
    return read_picture(content, where, size=size, grey=grey)


def _pictures(table: PictureTable, part: str, shape: tuple[int, int, int], size: int | None, grey: bool) -> np.ndarray:
    rows = sum(pq.ParquetFile(file).metadata.num_rows for file in table.parts[part])
    x = np.empty((rows, *shape), np.uint8)
    for row, (content, where) in enumerate(_encoded(table.parts[part], table.image)):
        pixels = read_picture(content, where, size=size, grey=grey)
        if pixels.shape != shape:
            here, first = (f"{sides[2]} × {sides[1]}" for sides in (pixels.shape, shape))
            raise PopulationError(f"{where} has {here} pixels, the first picture {first}; give all one --size")
        x[row] = pixels
    return x


def _encoded(files: tuple[Path, ...], image: str) -> Iterator[tuple[bytes, str]]:
    """The encoded pictures of these shards in order, each with its place in words."""
    for file in files:
        row = 0
        for batch in pq.ParquetFile(file).iter_batches(BATCH, columns=[image]):
            for cell in batch.column(0).to_pylist():
                row += 1
                content = cell.get("bytes") if isinstance(cell, dict) else cell
                if not content:
                    raise PopulationError(
                        f"{str(file)!r} has no picture in column {image!r} of row {row}; put its bytes in, or leave the "
                        "row out"
                    )
                yield content, f"{str(file)!r}: the picture of row {row}"


def _parts(shards: list[Path]) -> tuple[dict[str, tuple[Path, ...]], str]:
    """Shards by part of the split, in the order of their names; ``val`` is the test part where there is no other."""
    found: dict[str, list[Path]] = {}
    for file in shards:
        word = re.split(r"[^a-z]", file.stem.lower())[0]
        found.setdefault(PARTS.get(word) or PARTS.get(file.parent.name.lower()) or "", []).append(file)
    unnamed = found.pop("", [])
    if unnamed and found:
        raise PopulationError(
            f"{str(unnamed[0])!r} says by no name which part of the split it is, while other shards do; call it train-, "
            "val- or test-, or move it"
        )
    if unnamed or len(found) == 1:
        return {"train": tuple(unnamed or next(iter(found.values())))}, ""
    if "train" not in found:
        raise PopulationError(f"{str(shards[0].parent)!r} has no shards of the training part, called train-; add them")
    left_out = (
        f" ({len(found['val'])} shards of the validation part left out)" if {"val", "test"} <= found.keys() else ""
    )
    return {"train": tuple(found["train"]), "test": tuple(found.get("test") or found["val"])}, left_out


def _schema(file: Path) -> pa.Schema:
    try:
        return pq.read_schema(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _unreadable(file, error) from error


def _image_column(schema: pa.Schema, file: Path) -> str:
    """The one column that holds encoded pictures."""

    def is_bytes(kind: pa.DataType) -> bool:
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    found = [
        field.name
        for field in schema
        if is_bytes(field.type)
        or (pa.types.is_struct(field.type) and any(part.name == "bytes" and is_bytes(part.type) for part in field.type))
    ]
    if len(found) != 1:
        raise PopulationError(
            f"{str(file)!r} needs one column of pictures, of type struct<bytes, path> or binary, but has "
            f"{', '.join(map(repr, found)) or 'none'}; for a table of numbers say `data prepare table`"
        )
    return found[0]


def _classes(column: pa.ChunkedArray, schema: pa.Schema, label: str, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class of every row and the classes' names: those that the shards' metadata list, or the values in order."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = tuple(map(str, features[label]["names"]))
    except (LookupError, ValueError, TypeError):
        names = ()
    if not names or not pa.types.is_integer(column.type):
        return to_codes(column, f"{where}: column {label!r} of --label")
    y = column.to_numpy().astype(np.int64)
    wrong = (y < 0) | (y >= len(names))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise PopulationError(
            f"{where}: column {label!r} has {y[row]} in row {row + 1}, which is none of the {len(names)} classes of its "
            "metadata; leave shards without labels out"
        )
    return y, names


def _unreadable(file: Path, error: Exception) -> PopulationError:
    reason = " ".join(str(error).split())[:160].rstrip(".")
    return PopulationError(f"{str(file)!r} is no readable table ({reason}); mend it or save it again")
