"""What a command leaves in the folder that its user named."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from raysplit.errors import RunError
from raysplit.storage.atomic import write_bytes


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A line of names and a line a row; None is empty, a list is JSON."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row[column]) for column in columns])
    return sink.getvalue()


def _cell(value: Any) -> Any:
    return "" if value is None else json.dumps(value) if isinstance(value, list) else value


def arrow_bytes(rows: pa.Table) -> bytes:
    """A table as an Arrow IPC file."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def write_files(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write ``files`` by name, each atomically, and return their paths; raises ``RunError`` where the folder cannot be
    written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            write_bytes(folder / name, data)
    except OSError as error:
        raise RunError(f"{folder} cannot be written ({error.strerror}); choose another folder with --out") from error
    return [folder / name for name in files]
