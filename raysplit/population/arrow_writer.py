"""Writing a population client by client, in memory bounded by one record batch (docs/population.md, Writing)."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from raysplit.errors import PopulationError
from raysplit.population.arrow import Digest, clients_file
from raysplit.population.arrow_schema import CLIENT_FIELDS, Header, check_samples, client_schema, sample_schema
from raysplit.population.population import PopulationInfo

#: What the user can mend: no space, quota or permission, a read-only disk, a file where a folder should be.
UNWRITABLE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}
)


class ClientData(NamedTuple):
    """One client on its way to disk: ``*_x`` uint8 or float32 [n, C, H, W], ``*_y`` integer class labels [n].

    At least one training sample, unless it is an unseen client; the test set may be empty.
    """

    name: str
    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


def write_population(
    path: Path | str,
    clients: Iterable[ClientData],
    *,
    name: str,
    shape: tuple[int, int, int],
    classes: int,
    synthetic: bool = False,
    description: str = "",
    dtype: str = "uint8",
    unseen: bool = False,
    batch_bytes: int = 32 << 20,
) -> PopulationInfo:
    """Write ``clients`` to ``path`` (``NAME.arrow``) and the offsets beside it, replacing both atomically.

    Client ids are the order of ``clients``. ``shape`` is [C, H, W]; ``dtype`` is that of all samples, ``"uint8"`` or
    ``"float32"`` (finite numbers that reach the network as they are); a record batch is closed at the first client
    boundary at or beyond ``batch_bytes`` of pixels. ``unseen``: the last clients may lack training samples; they never
    take part and the model is evaluated on them alone (``PopulationInfo.unseen``). Raises ``PopulationError`` for a client that does not fit
    ``shape`` and ``classes``, for two clients of one name and for none at all; nothing is replaced then.
    """
    file = Path(path)
    if file.suffix != ".arrow" or file.name.endswith(".clients.arrow"):
        raise PopulationError(f"a population file must be called NAME.arrow, not {file.name!r}")
    try:
        header = Header(name, shape, classes, synthetic, description, dtype=dtype)
    except ValueError as error:
        raise PopulationError(f"{str(file)!r} cannot be written: {error}") from error
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with _temporary(file) as samples, _temporary(clients_file(file)) as sidecar:
            offsets, digest = _write_samples(samples, _trainable_first(clients, unseen), header, batch_bytes)
            without = sum(a == b for a, b in zip(offsets["train_start"], offsets["train_stop"], strict=True))
            header = replace(header, digest=digest, sample_bytes=samples.tell(), unseen=without)
            _write_offsets(sidecar, offsets, header)
            # The samples come last: whoever finds them finds their offsets too.
            _publish(sidecar, clients_file(file))
            _publish(samples, file)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise PopulationError(
            f"{str(file)!r} cannot be written: {error.strerror}; mend that or name another folder"
        ) from error
    clients_written = len(offsets["client"])
    return PopulationInfo(
        name, clients_written, classes, shape, synthetic, digest, description, dtype, unseen=header.unseen
    )


def _trainable_first(clients: Iterable[ClientData], unseen: bool) -> Iterator[ClientData]:
    """The clients, or an error for one without training samples that is no unseen one."""
    last: ClientData | None = None
    for client in clients:
        if not len(client.train_y) and not (unseen and last is not None and len(client.test_y)):
            raise PopulationError(f"client {client.name!r} has no training samples; every client needs at least one")
        if last is not None and len(client.train_y) and not len(last.train_y):
            raise PopulationError(
                f"client {client.name!r} has training samples, but comes after {last.name!r}, which has none; put unseen "
                "clients last"
            )
        last = client
        yield client


def _write_samples(
    out: BinaryIO, clients: Iterable[ClientData], header: Header, batch_bytes: int
) -> tuple[dict[str, list[str] | list[int]], str]:
    """Stream the samples; returns the columns of the offsets and the digest."""
    schema = sample_schema(header.shape, header.dtype).with_metadata(header.to_metadata(offsets=False))
    digest = Digest(header.shape, header.classes, header.dtype)
    names: dict[str, None] = {}
    starts, middles, stops = [], [], []
    pending: list[ClientData] = []
    pending_bytes = row = 0
    with pa.ipc.new_file(out, schema) as writer:
        for client in clients:
            if client.name in names:
                raise PopulationError(f"two clients are called {client.name!r}; a client's name must be unique")
            client = _checked(client, header)
            names[client.name] = None
            train, test = len(client.train_y), len(client.test_y)
            digest.add(client.name, train, test)
            digest.add_rows(client.train_x, client.test_x)
            digest.add_rows(client.train_y, client.test_y)
            starts.append(row)
            middles.append(row + train)
            row += train + test
            stops.append(row)
            pending.append(client)
            pending_bytes += client.train_x.nbytes + client.test_x.nbytes
            if pending_bytes >= batch_bytes:
                writer.write_batch(_batch(pending, schema))
                pending, pending_bytes = [], 0
        if not names:
            raise PopulationError(f"the population {header.name!r} has no clients")
        if pending:
            writer.write_batch(_batch(pending, schema))
        writer.write_batch(_empty(schema), custom_metadata={"digest": digest.hexdigest()})
    columns: dict[str, list[str] | list[int]] = {
        "client": list(names),
        "train_start": starts,
        "train_stop": middles,
        "test_start": middles,
        "test_stop": stops,
    }
    return columns, digest.hexdigest()


def _write_offsets(out: BinaryIO, offsets: dict[str, list[str] | list[int]], header: Header) -> None:
    schema = client_schema().with_metadata(header.to_metadata(offsets=True))
    columns = [pa.array(offsets[name], type=kind) for name, kind in CLIENT_FIELDS.items()]
    with pa.ipc.new_file(out, schema) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))


def _checked(client: ClientData, header: Header) -> ClientData:
    """The client with contiguous samples and int16 labels, or an error that names it."""
    where = f"client {client.name!r}"
    try:
        client.name.encode()
    except UnicodeEncodeError as error:
        raise PopulationError(f"{where} has a name that is not valid text; name it in Unicode") from error
    checked: list[np.ndarray] = []
    for part, x, y in (("training", client.train_x, client.train_y), ("test", client.test_x, client.test_y)):
        if wrong := check_samples(x, y, header):
            raise PopulationError(f"{where} has {part} {wrong}")
        if y.size and (y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= header.classes):
            raise PopulationError(f"{where} has a {part} label that is not a class in 0..{header.classes - 1}")
        checked += [np.ascontiguousarray(x), y.astype(np.int16)]
    return ClientData(client.name, *checked)


def _batch(clients: list[ClientData], schema: pa.Schema) -> pa.RecordBatch:
    pixels = np.concatenate([x.reshape(-1) for client in clients for x in (client.train_x, client.test_x)])
    labels = np.concatenate([y for client in clients for y in (client.train_y, client.test_y)])
    rows = pa.FixedSizeListArray.from_arrays(pa.array(pixels), type=schema.field("pixels").type)
    return pa.record_batch([rows, pa.array(labels)], schema=schema)


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.record_batch([pa.array([], type=field.type) for field in schema], schema=schema)


@contextmanager
def _temporary(file: Path) -> Iterator[BinaryIO]:
    """A file under a temporary name in ``file``'s folder, gone afterwards unless it was published."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as out:
            yield out
    finally:
        temporary.unlink(missing_ok=True)


def _publish(out: BinaryIO, file: Path) -> None:
    """Make the finished ``out`` durable and give it its name."""
    out.flush()
    os.fsync(out.fileno())
    os.replace(out.name, file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
