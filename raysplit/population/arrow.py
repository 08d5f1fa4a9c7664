"""A population on disk: two memory-mapped Arrow IPC files, samples and offsets (the format is docs/population.md)."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch

from raysplit.errors import PopulationError
from raysplit.population.arrow_schema import CLIENT_FIELDS, Header, sample_schema
from raysplit.population.population import PopulationInfo, PopulationSpec, Samples

#: In ``ArrowFile.path``, stands for the data directory of the machine that opens the file.
DATA = "$RAYSPLIT_DATA"


@dataclass(frozen=True)
class ArrowFile(PopulationSpec):
    """The population in ``path`` (``NAME.arrow``, with ``NAME.clients.arrow`` beside it).

    A path that begins with ``$RAYSPLIT_DATA/`` is looked up in the data directory of the machine that opens it, so that
    the scenario names no machine. ``if_missing`` completes the sentence that a user reads when the file is not there.
    """

    path: str
    if_missing: str = "write one with write_population()"

    def open(self) -> OpenArrow:
        """Open and check it; raises ``PopulationError`` when it is missing or damaged."""
        file = self.file()
        if not file.is_file():
            raise PopulationError(f"there is no population file {str(file)!r}: {self.if_missing}")
        return OpenArrow(file)

    def file(self) -> Path:
        """Where the samples lie on this machine."""
        if self.path == DATA or self.path.startswith(DATA + "/"):
            return data_directory() / self.path[len(DATA) + 1 :]
        return Path(self.path).expanduser()


def data_directory() -> Path:
    """Where prepared populations lie: ``$RAYSPLIT_DATA``, or ``~/.local/share/raysplit``."""
    chosen = os.environ.get("RAYSPLIT_DATA")
    return Path(chosen).expanduser() if chosen else Path("~/.local/share/raysplit").expanduser()


def clients_file(file: Path) -> Path:
    """The offsets that belong to the samples in ``file``."""
    return file.with_name(file.name.removesuffix(".arrow") + ".clients.arrow")


class Views(NamedTuple):
    """One client's rows as read-only views of the memory map: ``x`` uint8 or float32 [n, C, H, W], ``y`` int16 [n]."""

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


class _Batch(NamedTuple):
    """One record batch of samples as views of the map: ``pixels`` [rows, C, H, W], ``labels`` int16 [rows]."""

    pixels: np.ndarray
    labels: np.ndarray


class OpenArrow:
    """An open ``ArrowFile``: a ``Population`` whose samples stay on disk. Pickling one re-opens it by its path."""

    def __init__(self, file: Path) -> None:
        self._file = file
        sidecar = clients_file(file)
        if not sidecar.is_file():
            raise PopulationError(
                f"{str(file)!r} has no offsets beside it: {sidecar.name!r} is missing; copy both files, or prepare them"
            )
        clients, self._header = _guarded(sidecar, lambda: _read_clients(sidecar))
        self._offsets: dict[str, np.ndarray] = {
            field: clients.column(field).to_numpy(zero_copy_only=True) for field in CLIENT_FIELDS if field != "client"
        }
        self._names = clients.column("client")
        self._batches, self._starts = _guarded(file, lambda: _read_samples(file, self._header))
        _check_offsets(sidecar, self._offsets, self._starts, self._header.unseen)

    def __reduce__(self) -> tuple[Callable[[Path], OpenArrow], tuple[Path]]:
        return OpenArrow, (self._file,)

    @property
    def info(self) -> PopulationInfo:
        header = self._header
        return PopulationInfo(
            name=header.name,
            clients=len(self._names),
            classes=header.classes,
            shape=header.shape,
            synthetic=header.synthetic,
            digest=header.digest,
            description=header.description,
            dtype=header.dtype,
            unseen=header.unseen,
        )

    def train_sizes(self, clients: np.ndarray) -> np.ndarray:
        """Training samples of each of ``clients``: int64 [len(clients)]."""
        return self._sizes(clients, "train_start", "train_stop")

    def test_sizes(self, clients: np.ndarray) -> np.ndarray:
        """Test samples of each of ``clients``: int64 [len(clients)]."""
        return self._sizes(clients, "test_start", "test_stop")

    def train(self, client: int) -> Samples:
        """One client's training set, as tensors of its own: ``x`` uint8 or float32 [n, C, H, W], ``y`` int64 [n]."""
        views = self.views(client)
        return _samples(views.train_x, views.train_y)

    def test(self, client: int) -> Samples:
        """One client's test set, as tensors of its own; n may be 0."""
        views = self.views(client)
        return _samples(views.test_x, views.test_y)

    def views(self, client: int) -> Views:
        """One client's rows without a copy; raises ``PopulationError`` for a label that is no class."""
        client = int(self._checked(np.asarray([client]))[0])
        start, middle, stop = (int(self._offsets[f][client]) for f in ("train_start", "train_stop", "test_stop"))
        number = int(np.searchsorted(self._starts, start, side="right")) - 1
        first = int(self._starts[number])
        start, middle, stop = start - first, middle - first, stop - first
        pixels, labels = self._batches[number]
        ours = labels[start:stop]
        if ours.min() < 0 or ours.max() >= self._header.classes:
            raise PopulationError(
                f"{str(self._file)!r} is damaged: client {self.name(client)!r} has a label outside "
                f"0..{self._header.classes - 1}; prepare it again"
            )
        return Views(pixels[start:middle], labels[start:middle], pixels[middle:stop], labels[middle:stop])

    def name(self, client: int) -> str:
        """The client's name in the source of the data, e.g. a writer's."""
        return str(self._names[int(client)].as_py())

    def verify(self) -> None:
        """Read every sample and compare with the digest; raises ``PopulationError`` when a single bit differs."""
        digest = Digest(self._header.shape, self._header.classes, self._header.dtype)
        for client in range(len(self._names)):
            views = self.views(client)
            digest.add(self.name(client), len(views.train_y), len(views.test_y))
            digest.add_rows(views.train_x, views.test_x)
            digest.add_rows(views.train_y, views.test_y)
        if digest.hexdigest() != self._header.digest:
            raise PopulationError(
                f"{str(self._file)!r} is damaged: its samples have the digest {digest.hexdigest()[:12]}..., not "
                f"{self._header.digest[:12]}... as recorded; prepare it again"
            )

    def _sizes(self, clients: np.ndarray, start: str, stop: str) -> np.ndarray:
        ids = self._checked(np.asarray(clients))
        return np.asarray(self._offsets[stop][ids] - self._offsets[start][ids])

    def _checked(self, clients: np.ndarray) -> np.ndarray:
        if clients.size and (clients.min() < 0 or clients.max() >= len(self._names)):
            raise IndexError(f"client ids must lie in 0..{len(self._names) - 1}")
        return clients.astype(np.int64, copy=False)


class Digest:
    """The running sha256 of a population's content (docs/population.md, Digest)."""

    def __init__(self, shape: tuple[int, int, int], classes: int, dtype: str = "uint8") -> None:
        kind = "1" if dtype == "uint8" else f"2 {dtype}"
        self._hash = hashlib.sha256(f"raysplit population {kind}\n".encode())
        self._hash.update(np.asarray([*shape, classes], dtype="<i8").tobytes())

    def add(self, name: str, train: int, test: int) -> None:
        """Begin a client; its pixels, then its labels, follow through ``add_rows``."""
        text = name.encode()
        self._hash.update(np.asarray([len(text), train, test], dtype="<i8").tobytes() + text)

    def add_rows(self, *rows: np.ndarray) -> None:
        """Arrays of samples (uint8, float32) or labels (int16)."""
        for array in rows:
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            self._hash.update(np.ascontiguousarray(little).reshape(-1).view(np.uint8).data)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _samples(x: np.ndarray, y: np.ndarray) -> Samples:
    # A copy, not a view: torch knows no read-only tensors, and an in-place edit of the map would kill the process.
    return Samples(torch.from_numpy(x.copy()), torch.from_numpy(y.astype(np.int64)))


# What Arrow, json and numpy raise for bytes that are not what they should be.
_DAMAGE = (
    pa.ArrowException,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    MemoryError,
    RecursionError,
)


def _guarded(file: Path, read: Callable[[], Any]) -> Any:
    """``read()``, with whatever Arrow says of a damaged file turned into one sentence."""
    try:
        return read()
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:160].rstrip(".") or type(error).__name__
        raise PopulationError(
            f"{str(file)!r} is not a readable population file ({reason}); prepare or copy it again"
        ) from error


def _mapped(file: Path) -> tuple[pa.ipc.RecordBatchFileReader, pa.Buffer]:
    """A reader whose buffers are views of the read-only map, and the map."""
    with open(file, "rb") as handle:
        view = pa.py_buffer(mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ))
    # Arrow looks for its magic at the end only.
    if view[:8].to_pybytes() != b"ARROW1\0\0":
        raise ValueError("it does not begin like an Arrow file")
    return pa.ipc.open_file(view), view


def _read_clients(file: Path) -> tuple[pa.RecordBatch, Header]:
    reader, _ = _mapped(file)
    header = Header.from_metadata(reader.schema.metadata, offsets=True)
    found = [(field.name, field.type, field.nullable) for field in reader.schema]
    if found != [(name, kind, False) for name, kind in CLIENT_FIELDS.items()]:
        raise ValueError(f"its columns are {reader.schema.names}, not {list(CLIENT_FIELDS)}")
    if reader.num_record_batches != 1:
        raise ValueError(f"it has {reader.num_record_batches} record batches, not 1")
    batch = reader.get_batch(0)
    batch.validate(full=True)
    if batch.num_rows < 1:
        raise ValueError("it has no clients")
    if any(column.null_count for column in batch.columns):
        raise ValueError("it has nulls")
    return batch, header


def _read_samples(file: Path, header: Header) -> tuple[list[_Batch], np.ndarray]:
    """The batches of samples, and the first row of each followed by the number of rows: int64 [batches + 1]."""
    reader, view = _mapped(file)
    if view.size != header.sample_bytes:
        raise ValueError(f"it is {view.size} bytes long, the offsets beside it belong to one of {header.sample_bytes}")
    if Header.from_metadata(reader.schema.metadata, offsets=False) != header.without_offsets():
        raise ValueError("its metadata differ from those of the offsets beside it")
    if not reader.schema.equals(sample_schema(header.shape, header.dtype), check_metadata=False):
        raise ValueError(f"its columns are not those of {header.dtype} samples of shape {list(header.shape)}")
    last = reader.num_record_batches - 1
    tail, stamp = reader.get_batch_with_custom_metadata(last) if last >= 1 else (None, None)
    if tail is None or tail.num_rows != 0 or stamp is None or stamp.get(b"digest") != header.digest.encode():
        raise ValueError("its digest is not that of the offsets beside it: the two files are of different preparations")
    batches = [_views_of(reader.get_batch(number), header.shape, view) for number in range(last)]
    return batches, np.cumsum([0, *(len(batch.labels) for batch in batches)], dtype=np.int64)


def _views_of(batch: pa.RecordBatch, shape: tuple[int, int, int], view: pa.Buffer) -> _Batch:
    batch.validate()
    column, label_column = batch.column(0), batch.column(1)
    if batch.num_rows < 1 or column.null_count or label_column.null_count or column.values.null_count:
        raise ValueError("it has an empty batch or nulls")
    # zero_copy_only refuses anything that is not plainly laid out; flatten() follows the list's own offset and length.
    pixels = column.flatten().to_numpy(zero_copy_only=True).reshape(batch.num_rows, *shape)
    labels = label_column.to_numpy(zero_copy_only=True)
    for array in (pixels, labels):
        # Arrow inflates compressed buffers into memory of its own, which is what a memory map is to avoid.
        if not view.address <= array.ctypes.data <= view.address + view.size - array.nbytes:
            raise ValueError("its batches are compressed")
    return _Batch(pixels, labels)


def _check_offsets(file: Path, offsets: dict[str, np.ndarray], starts: np.ndarray, unseen: int) -> None:
    trainable = len(offsets["train_start"]) - unseen
    train_start, train_stop, test_start, test_stop = offsets.values()
    in_order = (
        train_start[0] == 0
        and test_stop[-1] == starts[-1]
        and trainable >= 1
        and bool(np.all(train_start[:trainable] < train_stop[:trainable]))
        and bool(np.all(train_start[trainable:] == train_stop[trainable:]))
        and bool(np.all(test_start[trainable:] < test_stop[trainable:]))
        and bool(np.all(train_stop == test_start))
        and bool(np.all(test_start <= test_stop))
        and bool(np.all(test_stop[:-1] == train_start[1:]))
    )
    if not in_order:
        raise PopulationError(
            f"{str(file)!r} is damaged: its offsets do not cover the {int(starts[-1])} samples client by client; "
            "prepare or copy it again"
        )
    first = np.searchsorted(starts, train_start, side="right")
    if not np.array_equal(first, np.searchsorted(starts, test_stop - 1, side="right")):
        raise PopulationError(
            f"{str(file)!r} is damaged: a client's rows straddle two record batches; prepare it again"
        )
