"""A run's tables while it runs: appended round by round, readable at any moment, whole after a crash.

``open_tables`` is for the process that runs the simulation; ``read_table`` is for everybody, at any time. Each append
is one record batch in one write to the end of the file, so a reader sees all of it or drops a cut tail (``stream.py``).
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysplit.errors import RunError
from raysplit.storage.atomic import naming, sync_folder, write_bytes
from raysplit.storage.schemas import FORMAT, RENAMED_SINCE_1, SCHEMAS
from raysplit.storage.stream import Scan, batch_message, scan, schema_message


class TableWriter:
    """Appends to one table; ``path`` names a file that ``open_tables`` has prepared."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.schema = schema
        self._file = io.FileIO(path, "ab")

    def append(self, rows: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
        """Append one row or several as one record batch; no rows append nothing.

        A row names all columns; those that are nullable may be None or missing. Raises ``TypeError`` for an unknown or
        missing column and for a value of another type (a programming error), ``RunError`` where the disk is full.
        """
        rows = [rows] if isinstance(rows, Mapping) else rows
        for name in {name for row in rows for name in row}:
            self._known(name)
        self.append_columns({field.name: [row.get(field.name) for row in rows] for field in self.schema})

    def append_columns(self, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
        """As ``append``, from equally long columns; a nullable column may be missing."""
        for name in columns:
            self._known(name)
        lengths = {len(values) for values in columns.values()}
        if len(lengths) != 1:
            raise TypeError(f"table {self.path.stem!r} was given columns of unequal lengths {sorted(lengths)}")
        (length,) = lengths
        if length == 0:
            return
        arrays = [_array(self.path.stem, field, columns.get(field.name, [None] * length)) for field in self.schema]
        self._write(batch_message(pa.record_batch(arrays, schema=self.schema)))

    def sync(self) -> None:
        """Force what was appended to disk: after this, even a power cut leaves it."""
        with naming(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Force to disk and close; a closed writer may be closed again."""
        if not self._file.closed:
            self.sync()
            self._file.close()

    def _known(self, name: str) -> None:
        if self.schema.get_field_index(name) < 0:
            names = ", ".join(self.schema.names)
            raise TypeError(f"table {self.path.stem!r} has no column {name!r}; its columns are {names}")

    def _write(self, message: bytes) -> None:
        start = os.fstat(self._file.fileno()).st_size
        rest = memoryview(message)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            # A part of a message in the middle of a table would hide every later one.
            self._file.truncate(start)
            raise RunError(
                f"{self.path} cannot be written ({error.strerror}); free some space, then resume the run"
            ) from error


@final
@dataclass(frozen=True)
class Tables:
    """The open tables of one run; use as a context manager or call ``close``."""

    rounds: TableWriter
    clients: TableWriter
    aggregation: TableWriter
    attacks: TableWriter
    channels: TableWriter
    evaluations: TableWriter
    client_evaluations: TableWriter
    times: TableWriter
    detection: TableWriter
    client_scores: TableWriter
    privacy: TableWriter

    def writers(self) -> list[TableWriter]:
        """All tables, in the order that they have in the schemas."""
        return [getattr(self, field.name) for field in fields(self)]

    def sync(self) -> None:
        """Force all tables to disk; call it before a checkpoint is published, so that no checkpoint is ahead of
        them."""
        for writer in self.writers():
            writer.sync()

    def close(self) -> None:
        """Close all tables."""
        for writer in self.writers():
            writer.close()

    def __enter__(self) -> Tables:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_tables(folder: str | os.PathLike[str]) -> Tables:
    """Open the tables in ``folder`` (a run's ``metrics``) for appending, made where missing; one process at a time.

    A last message that a crash has cut is removed first. Raises ``RunError`` for a damaged or foreign table.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    writers = {}
    for name, schema in SCHEMAS.items():
        path = folder / f"{name}.arrow"
        if not path.exists():
            write_bytes(path, schema_message(schema))
        else:
            data = path.read_bytes()
            found = _own(path, _whole(path, data), schema)
            whole = data[: found.end] or schema_message(schema)
            if whole != data:
                write_bytes(path, whole)
        writers[name] = TableWriter(path, schema)
    sync_folder(folder)
    return Tables(**writers)


def rewind(folder: str | os.PathLike[str], last_round: int) -> None:
    """Take the rows of rounds after ``last_round`` out of every table in ``folder``, each table atomically.

    Call it before ``open_tables`` when a run is resumed from the checkpoint of ``last_round``. A table whose damage
    lies after that round is mended by it, since all that is damaged is about to be made again. Raises ``RunError`` for
    other damage.
    """
    folder = Path(folder)
    for name, schema in SCHEMAS.items():
        path = folder / f"{name}.arrow"
        if not path.exists():
            continue
        data = path.read_bytes()
        found = _own(path, _scan(path, data), schema)
        reached = _last_round(found)
        if found.damage is not None and reached < last_round:
            raise _damaged(path, found.damage)
        if name == "rounds" and reached < last_round:
            raise RunError(
                f"{path} ends at round {reached}, before the checkpoint of round {last_round}; resume from an earlier "
                "one"
            )
        kept = b"".join(batch_message(batch) for batch in _until(found.batches, last_round))
        rewound = schema_message(schema) + kept
        if rewound != data:
            write_bytes(path, rewound)


def read_table(path: str | os.PathLike[str]) -> pa.Table:
    """The complete rows of a table, while the run goes on or after it ended in whatever way.

    Raises ``RunError`` where the file is missing, is no table of ours, is of a newer format or is damaged before its
    end.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise RunError(f"{path} is missing; it is written when the run starts, so this run never did") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror})") from None
    found = _whole(path, data)
    return _with_todays_columns(pa.Table.from_batches(found.batches, schema=found.schema))


def _with_todays_columns(table: pa.Table) -> pa.Table:
    """A table of an older version with the names that its columns have now, and without values in columns that came
    later."""
    metadata = table.schema.metadata or {}
    name = metadata.get(b"raysplit.table", b"").decode(errors="replace")
    if int(metadata[b"raysplit.format"]) < FORMAT:
        renamed = RENAMED_SINCE_1.get(name, {})
        table = table.rename_columns([renamed.get(column, column) for column in table.column_names])
    for place, field in enumerate(SCHEMAS.get(name, ())):
        if field.nullable and field.name not in table.column_names:
            table = table.add_column(min(place, table.num_columns), field, pa.nulls(table.num_rows, field.type))
    return table


def _array(table: str, field: pa.Field, values: Sequence[Any] | np.ndarray) -> pa.Array:
    """``values`` as an Arrow array of exactly the field's type; only int to float is converted."""
    items = values.tolist() if isinstance(values, np.ndarray) else list(values)
    where = f"column {field.name!r} of table {table!r}"
    for item in items:
        if item is None:
            if not field.nullable:
                raise TypeError(f"{where} was given no value, but it may not be empty")
        elif not _fits(item, field.type):
            raise TypeError(f"{where} takes {field.type}, but was given {item!r} ({type(item).__name__})")
    try:
        return pa.array(items, field.type)
    except (pa.ArrowException, OverflowError) as error:
        raise TypeError(f"{where} takes {field.type}, which cannot hold the values given: {error}") from None


def _fits(item: Any, kind: pa.DataType) -> bool:
    if pa.types.is_boolean(kind):
        return isinstance(item, bool | np.bool_)
    if isinstance(item, bool | np.bool_):
        return False
    if pa.types.is_list(kind):
        return isinstance(item, list) and all(value is None or _fits(value, kind.value_type) for value in item)
    if pa.types.is_integer(kind):
        return isinstance(item, int | np.integer)
    if pa.types.is_floating(kind):
        return isinstance(item, int | float | np.integer | np.floating)
    return isinstance(item, str)


def _scan(path: Path, data: bytes) -> Scan:
    try:
        found = scan(data)
    except ValueError:
        schema = SCHEMAS.get(path.stem)
        # A copy or a download can be cut within the first message; our own writer never leaves that.
        if schema is not None and schema_message(schema).startswith(data):
            return Scan(schema, [], 0, None)
        raise RunError(f"{path} is not an Arrow table of a RaySplit run") from None
    metadata = found.schema.metadata or {}
    version = metadata.get(b"raysplit.format", b"").decode(errors="replace")
    if not version.isdecimal():
        raise RunError(f"{path} is an Arrow stream, but not a table of a RaySplit run")
    if int(version) > FORMAT:
        raise RunError(f"{path} is of format {version}, newer than this RaySplit reads ({FORMAT}); upgrade RaySplit")
    return found


def _whole(path: Path, data: bytes) -> Scan:
    found = _scan(path, data)
    if found.damage is not None:
        raise _damaged(path, found.damage)
    return found


def _own(path: Path, found: Scan, schema: pa.Schema) -> Scan:
    if not found.schema.equals(schema):
        raise RunError(
            f"{path} has other columns than this RaySplit writes; resume it with the version that started it"
        )
    return found


def _damaged(path: Path, offset: int) -> RunError:
    return RunError(f"{path} is damaged at byte {offset}, with whole rounds after it; restore the file from a copy")


def _last_round(found: Scan) -> int:
    return max((pc.max(batch.column("round")).as_py() for batch in found.batches), default=0)


def _until(batches: list[pa.RecordBatch], last_round: int) -> list[pa.RecordBatch]:
    kept = [batch.filter(pc.less_equal(batch.column("round"), last_round)) for batch in batches]
    return [batch for batch in kept if batch.num_rows]
