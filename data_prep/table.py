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
from raysplit.errors import PopulationError, nearest
from raysplit.population.arrow_writer import ClientData

WHOLE = 1 << 24
"""Up to here float32 holds every whole number."""


@dataclass(frozen=True)
class Rows:
    """A table as numbers: ``x`` float64 [n, columns], ``y`` int64 [n], ``owner`` index into ``owners`` int64 [n].

    ``owners`` is empty when the table does not say whose row it is.
    """

    x: np.ndarray
    y: np.ndarray
    owner: np.ndarray
    columns: tuple[str, ...]
    classes: tuple[str, ...]
    owners: tuple[str, ...]


def prepare(
    out: Path,
    *,
    source: Path | None = None,
    label: str,
    client: str | None = None,
    features: Sequence[str] = (),
    standardise: bool = False,
    pool: bool = False,
    console: Console | None = None,
    seed: int = 0,
) -> Summary:
    """Write the table in file ``source`` (``.parquet`` or ``.csv``) to ``out``, print what came out and return it.

    ``label``: the column of classes, numbered in ascending order of its values. ``client``: the column that says whose
    row it is; without it the table is a pool. ``features``: the columns of numbers, in this order; without it all but
    those two, in the table's order. ``standardise``: (value − mean) / sd of each column, by the training rows of all
    clients together (sd divides by n; a constant column is only centred); both stand in the description. ``pool``:
    clients become one after the split. A tenth is held out by a stream of ``seed``: of each client's rows, or of each
    class in a table without clients. Raises ``PopulationError`` naming file and column.
    """
    if source is None or not source.is_file():
        raise PopulationError(
            f"there is no table {str(source)!r}"
            if source is not None
            else "table prepares a table of your own: name its file with --from"
        )
    console = console or Console(stderr=True)
    rows = read_table(source, label=label, client=client, features=features)
    clients = list(_clients(rows, seed))
    told = ""
    if standardise:
        mean, sd = _moments(np.concatenate([mine.train_x for mine in clients]))
        clients = [_map(mine, lambda x: (x - mean) / np.where(sd > 0, sd, 1.0)) for mine in clients]
        pairs = zip(rows.columns, mean.ravel().tolist(), sd.ravel().tolist(), strict=True)
        told = "standardised by the training rows (column: mean, sd): "
        told += ", ".join(f"{name}: {m!r}, {s!r}" for name, m, s in pairs)
    else:
        _refuse_names(source, rows)
        told = f"columns {', '.join(rows.columns)}"
    clients = [_map(mine, lambda x: _rounded(source, rows, x)) for mine in clients]
    whose = f"clients by column {client!r}" if client is not None else "no clients"
    return write(
        out,
        clients,
        name=out.name.removesuffix(".arrow"),
        shape=(1, 1, len(rows.columns)),
        classes=len(rows.classes),
        dtype="float32",
        description=f"table {source.name!r}, {whose}, classes {', '.join(rows.classes)} of column {label!r}, split nine to "
        f"one with seed {seed}; {told}",
        pool=pool or client is None,
        console=console,
    )


def read_table(file: Path, *, label: str, client: str | None, features: Sequence[str]) -> Rows:
    """The table as numbers; raises ``PopulationError`` for columns that are missing, incomplete or no numbers."""
    table = _load(file, [label, *([client] if client else [])])
    names = table.column_names
    where = repr(str(file))
    if len(set(names)) < len(names):
        raise PopulationError(f"{where} has two columns of one name; rename one")
    for option, name in [
        ("--label", label),
        *([("--client", client)] if client else []),
        *(("--feature", f) for f in features),
    ]:
        if name not in names:
            raise PopulationError(f"{where} has no column {name!r} for {option}; {nearest(name, names)}")
    columns = tuple(features) or tuple(name for name in names if name not in (label, client))
    if not columns or len(set(columns)) < len(columns) or {label, client} & set(columns):
        raise PopulationError(
            f"{where} needs feature columns, each once, besides those of --label and --client, not "
            f"{', '.join(columns) or 'none'}"
        )
    for name in (*columns, label, *([client] if client else [])):
        if table.column(name).null_count:
            row = int(np.argmax(table.column(name).is_null().to_numpy()))
            raise PopulationError(
                f"{where} has no value in column {name!r} of row {row + 1}; fill it or leave the row out"
            )
    if not table.num_rows:
        raise PopulationError(f"{where} has no rows")
    y, classes = _codes(table.column(label), f"{where}: column {label!r} of --label")
    owner, owners = np.zeros(table.num_rows, dtype=np.int64), tuple[str, ...]()
    if client is not None:
        owner, owners = _codes(table.column(client), f"{where}: column {client!r} of --client")
    x = np.stack([_numbers(table.column(name), f"{where}: column {name!r}") for name in columns], axis=1)
    return Rows(x, y, owner, columns, classes, owners)


def _load(file: Path, names: list[str]) -> pa.Table:
    """The table; the columns ``names`` of a CSV stay texts, for 01 is another client than 1."""
    import pyarrow.csv
    import pyarrow.parquet

    suffix = file.suffix.lower()
    if suffix not in (".parquet", ".csv"):
        raise PopulationError(f"{str(file)!r} is neither .parquet nor .csv; save the table as one of them")
    try:
        if suffix == ".csv":
            kinds = dict.fromkeys(names, pa.string())
            options = pyarrow.csv.ConvertOptions(column_types=kinds, strings_can_be_null=True)
            return pyarrow.csv.read_csv(file, convert_options=options)
        return pyarrow.parquet.read_table(file)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:160].rstrip(".")
        raise PopulationError(f"{str(file)!r} is no readable table ({reason}); mend it or save it again") from error


def _codes(column: pa.ChunkedArray, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Indices into the sorted distinct values, int64 [n], and these values in words.

    Texts that are all plain whole numbers are sorted as numbers.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_floating(kind):
        whole = column.to_numpy()
        if not np.all(np.isfinite(whole) & (whole == np.rint(whole))):
            raise PopulationError(f"{where} holds fractions, which name nothing; use whole numbers or texts")
        column = column.cast(pa.int64())
    elif not (
        pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
    ):
        raise PopulationError(f"{where} is of type {kind}; use whole numbers or texts")
    distinct = set(column.to_pylist())
    numbers = all(re.fullmatch(r"0|-?[1-9]\d*", str(value)) for value in distinct)
    ordered = sorted(distinct, key=int if numbers else None)
    place = {value: code for code, value in enumerate(ordered)}
    codes = np.array([place[value] for value in column.to_pylist()], dtype=np.int64)
    return codes, tuple(str(value) for value in ordered)


def _numbers(column: pa.ChunkedArray, where: str) -> np.ndarray:
    kind = column.type
    if not (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    ):
        raise PopulationError(
            f"{where} is of type {kind}, not numbers; name the columns to use with --feature, or make numbers of it"
        )
    try:
        values = np.asarray(pc.cast(column, pa.float64()).to_numpy(), dtype=np.float64)
    except pa.ArrowInvalid as error:
        raise PopulationError(
            f"{where} has whole numbers beyond 2^53, which are rather names than numbers; leave it out with --feature"
        ) from error
    if not np.isfinite(values).all():
        row = int(np.argmax(~np.isfinite(values)))
        raise PopulationError(f"{where} has {values[row]} in row {row + 1}, which is no number to learn from")
    return values


def _clients(rows: Rows, seed: int) -> Iterator[ClientData]:
    x = rows.x[:, None, None, :]
    if not rows.owners:
        yield split_stratified(POOL, x, rows.y, seed=seed)
        return
    order = np.argsort(rows.owner, kind="stable")
    for name, mine in zip(rows.owners, np.split(order, np.cumsum(np.bincount(rows.owner))[:-1]), strict=True):
        yield split_client(name, x[mine], rows.y[mine], seed=seed)


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd of each column of ``x`` [n, 1, 1, columns], float64 [1, 1, columns]."""
    return x.mean(axis=0), x.std(axis=0)


def _map(client: ClientData, change: Callable[[np.ndarray], np.ndarray]) -> ClientData:
    return client._replace(train_x=change(client.train_x), test_x=change(client.test_x))


def _refuse_names(file: Path, rows: Rows) -> None:
    whole = (rows.x == np.rint(rows.x)).all(axis=0)
    with np.errstate(over="ignore"):
        held = (rows.x == rows.x.astype(np.float32)).all(axis=0)
    for column in np.flatnonzero(whole & ~held & (np.abs(rows.x).max(axis=0) < np.finfo(np.float32).max)):
        name = rows.columns[column]
        raise PopulationError(
            f"{str(file)!r}: column {name!r} has whole numbers beyond {WHOLE:,}, which float32 would run together; "
            "standardise, or leave the column out with --feature"
        )


def _rounded(file: Path, rows: Rows, x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        rounded = x.astype(np.float32)
    wrong = ~np.isfinite(rounded).all(axis=(0, 1, 2))
    for column in np.flatnonzero(wrong):
        name = rows.columns[column]
        raise PopulationError(
            f"{str(file)!r}: column {name!r} has numbers too large for float32; scale it, or standardise"
        )
    return rounded
