"""Preparing a table of one's own, Parquet or CSV: numeric columns, a label, and whose row it is.

A row is a float32 sample [1, 1, columns]. Numbers of double precision are rounded to float32; whole numbers that
float32 cannot hold are refused, for they are rather names than numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console

from data_prep.prepared import POOL, Summary, write
from data_prep.split import split_client, split_stratified
from data_prep.table_columns import check_filled, to_codes, to_numbers
from data_prep.table_file import Dialect, load, other_dialect
from raysplit.errors import PopulationError, nearest
from raysplit.population.arrow_writer import ClientData

WHOLE = 1 << 24
"""Up to here float32 holds every whole number."""
INDEX = re.compile(r"|Unnamed: [0-9]+|__index_level_[0-9]+__")
"""The column in which pandas saves the index of a table: without a name in CSV, and as CSV and Parquet bring it back."""


@dataclass(frozen=True)
class Rows:
    """A table as numbers: ``x`` float64 [n, columns], ``y`` int64 [n], ``owner`` index into ``owners`` int64 [n].

    ``owners`` is empty when the table does not say whose row it is. ``left_out``: the columns of pandas' index.
    """

    x: np.ndarray
    y: np.ndarray
    owner: np.ndarray
    columns: tuple[str, ...]
    classes: tuple[str, ...]
    owners: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def prepare(
    out: Path,
    *,
    source: Path | None = None,
    label: str,
    client: str | None = None,
    features: Sequence[str] = (),
    standardise: bool = False,
    pool: bool = False,
    delimiter: str | None = None,
    decimal: str | None = None,
    encoding: str | None = None,
    console: Console | None = None,
    seed: int = 0,
) -> Summary:
    """Write the table in file ``source`` (``.parquet`` or ``.csv``) to ``out``, print what came out and return it.

    ``label``: the column of classes, numbered in ascending order of its values. ``client``: the column that says whose
    row it is; without it the table is a pool. ``features``: the columns of numbers, in this order; without it all but
    those two and pandas' index, in the table's order. ``standardise``: (value − mean) / sd of each column, by the
    training rows of all clients together (sd divides by n; a constant column is only centred); both are in the
    description. ``pool``: clients become one after the split. ``delimiter``, ``decimal`` and ``encoding`` say how a CSV
    is written, where it is not commas, points and UTF-8. A tenth is held out by a stream of ``seed``: of each client's
    rows, or of each class in a table without clients. Raises ``PopulationError`` naming file, column, row and value.
    """
    if source is None or not source.is_file():
        raise PopulationError(
            f"there is no table {str(source)!r}"
            if source is not None
            else "table prepares a table of your own: name its file with --from"
        )
    dialect = Dialect.of(source, delimiter, decimal, encoding)
    rows = read_table(source, label=label, client=client, features=features, dialect=dialect)
    clients = list(_clients(rows, seed))
    if standardise:
        mean, sd = _moments(source, rows, clients)
        clients = [_map(data, lambda x: (x - mean) / np.where(sd > 0, sd, 1.0)) for data in clients]
        pairs = zip(rows.columns, mean.ravel().tolist(), sd.ravel().tolist(), strict=True)
        columns_text = "standardised by the training rows (column: mean, sd): "
        columns_text += ", ".join(f"{name}: {m!r}, {s!r}" for name, m, s in pairs)
    else:
        _check_float32(source, rows)
        columns_text = f"columns {', '.join(rows.columns)}"
    if rows.left_out:
        columns_text += f"; left out, being the index that pandas saved: {', '.join(map(repr, rows.left_out))}"
    whose = f"clients by column {client!r}" if client is not None else "no clients"
    return write(
        out,
        [_map(data, lambda x: x.astype(np.float32)) for data in clients],
        name=out.name.removesuffix(".arrow"),
        shape=(1, 1, len(rows.columns)),
        classes=len(rows.classes),
        dtype="float32",
        description=f"table {source.name!r}, {whose}, classes {', '.join(rows.classes)} of column {label!r}, split nine to "
        f"one with seed {seed}; {columns_text}",
        pool=pool or client is None,
        console=console or Console(stderr=True),
    )


def read_table(
    file: Path, *, label: str, client: str | None, features: Sequence[str], dialect: Dialect | None = None
) -> Rows:
    """The table as numbers; raises ``PopulationError`` for columns that are missing, incomplete or no numbers."""
    dialect = dialect or Dialect()
    table = load(file, dialect)
    where = repr(str(file))
    identifiers = [label] if client is None else [label, client]
    _check_names(table.column_names, file, label, client, features, dialect)
    columns, left_out = tuple(features), tuple[str, ...]()
    if not features:
        left_out = _index_columns(table, identifiers, where)
        columns = tuple(name for name in table.column_names if name not in identifiers and name not in left_out)
    if not columns or len(set(columns)) < len(columns) or set(identifiers) & set(columns):
        raise PopulationError(
            f"{where} needs feature columns, each once, besides those of --label and --client, not "
            f"{', '.join(columns) or 'none'}"
        )
    check_filled(table, (*columns, *identifiers), identifiers, where)
    if not table.num_rows:
        raise PopulationError(f"{where} has no rows")
    y, classes = to_codes(table.column(label), f"{where}: column {label!r} of --label", dialect.decimal)
    owner, owners = np.zeros(table.num_rows, dtype=np.int64), tuple[str, ...]()
    if client is not None:
        owner, owners = to_codes(table.column(client), f"{where}: column {client!r} of --client", dialect.decimal)
    texts = file.suffix.lower() == ".csv"
    x = [
        to_numbers(table.column(name), f"{where}: column {name!r}", decimal=dialect.decimal, texts=texts)
        for name in columns
    ]
    return Rows(np.stack(x, axis=1), y, owner, columns, classes, owners, left_out)


def _check_names(
    names: list[str], file: Path, label: str, client: str | None, features: Sequence[str], dialect: Dialect
) -> None:
    where = repr(str(file))
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise PopulationError(f"{where} has two columns of one name, {twice!r}; rename one")
    options = [("--label", label), *([("--client", client)] if client else []), *(("--feature", f) for f in features)]
    for option, name in options:
        if name not in names:
            hint = other_dialect(file, dialect) or f"; {nearest(name, names)}"
            raise PopulationError(f"{where} has no column {name!r} for {option}{hint}")


def _index_columns(table: pa.Table, identifiers: Sequence[str], where: str) -> tuple[str, ...]:
    """The columns that pandas saved a table's index in: no name of their own, and no value twice."""
    found = [name for name in table.column_names if INDEX.fullmatch(name) and name not in identifiers]
    for name in found:
        if pc.count_distinct(table.column(name)).as_py() < table.num_rows:
            raise PopulationError(
                f"{where} has the column {name!r}, which has no name of its own, but is not pandas' index either, for "
                "it lacks or repeats values; name the columns to use with --feature"
            )
    return tuple(found)


def _clients(rows: Rows, seed: int) -> Iterator[ClientData]:
    x = rows.x[:, None, None, :]
    if not rows.owners:
        yield split_stratified(POOL, x, rows.y, seed=seed)
        return
    order = np.argsort(rows.owner, kind="stable")
    for name, own in zip(rows.owners, np.split(order, np.cumsum(np.bincount(rows.owner))[:-1]), strict=True):
        yield split_client(name, x[own], rows.y[own], seed=seed)


def _moments(file: Path, rows: Rows, clients: Sequence[ClientData]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd of each column over all training rows, float64 [1, 1, columns]; refuses what float64 cannot hold."""
    x = np.concatenate([data.train_x for data in clients])
    with np.errstate(over="ignore", invalid="ignore"):
        constant = x.min(axis=0) == x.max(axis=0)  # whose computed mean may be a rounding error off
        mean, sd = np.where(constant, x[0], x.mean(axis=0)), np.where(constant, 0.0, x.std(axis=0))
        standardised = (rows.x - mean.ravel()) / np.where(sd > 0, sd, 1.0).ravel()
        wrong = ~(np.isfinite(sd.ravel()) & np.isfinite(standardised.astype(np.float32)).all(axis=0))
    for column in map(int, np.flatnonzero(wrong)):
        row = int(np.argmax(np.abs(rows.x[:, column])))
        raise PopulationError(
            f"{_cell(file, rows, column)} has numbers too large to standardise ({_value(rows, row, column)}); mend that, "
            "or leave the column out with --feature"
        )
    return mean, sd


def _map(client: ClientData, change: Callable[[np.ndarray], np.ndarray]) -> ClientData:
    return client._replace(train_x=change(client.train_x), test_x=change(client.test_x))


def _check_float32(file: Path, rows: Rows) -> None:
    """Refuse numbers beyond float32, and whole numbers that it would run together with their neighbours."""
    with np.errstate(over="ignore"):
        rounded = rows.x.astype(np.float32)
    large = ~np.isfinite(rounded)
    for column in map(int, np.flatnonzero(large.any(axis=0))):
        row = int(np.argmax(large[:, column]))
        raise PopulationError(
            f"{_cell(file, rows, column)} has numbers too large for float32 ({_value(rows, row, column)}); mend that, "
            "scale the column, or standardise"
        )
    lost = rows.x != rounded
    for column in map(int, np.flatnonzero((rows.x == np.rint(rows.x)).all(axis=0) & lost.any(axis=0))):
        row = int(np.argmax(lost[:, column]))
        raise PopulationError(
            f"{_cell(file, rows, column)} has whole numbers beyond {WHOLE:,} ({_value(rows, row, column)}), which float32 "
            "would run together; standardise, or leave the column out with --feature"
        )


def _cell(file: Path, rows: Rows, column: int) -> str:
    return f"{str(file)!r}: column {rows.columns[column]!r}"


def _value(rows: Rows, row: int, column: int) -> str:
    value = float(rows.x[row, column])
    return f"{int(value) if abs(value) < 1e18 and value.is_integer() else value} in row {row + 1}"
