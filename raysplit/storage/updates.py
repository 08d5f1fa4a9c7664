"""A round's matrix of updates on disk: what the fed server received, so that rules can be developed without training
anew.

Where server replicas are averaged, their updates are kept too, in the same way, under ``updates/server``.
``updates/round-000012.arrow`` is an Arrow IPC file without compression: columns ``client``,
``weight``, ``malicious`` and ``update``, a fixed-size list of floats. Its record batches hold, each in one piece: the n
received rows in cohort order; the honest rows of the malicious clients, where an attack replaced them; the global
portion; and the root clients' update, where the rule names some. It maps into memory as matrices without a copy and
takes (n + m + 1 or 2)·d·4 bytes in float32.
"""

from __future__ import annotations

import mmap
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from raysplit.aggregation.rule import RoundContext, rule_stream
from raysplit.channels.channel import Channel
from raysplit.errors import RunError, first_line
from raysplit.memory.memory import State
from raysplit.storage.atomic import write_through

FORMAT = 1
CHANNELS = (Channel.UPDATES, Channel.SERVER_UPDATES)
"""Whose updates are recorded, each channel's as a matrix of its own."""


@dataclass(frozen=True, eq=False)
class RecordedRound:
    """``updates``: [n, d] as received, in cohort order. ``honest``: [m, d], what the malicious clients would have sent,
    or [0, d] where no attack was in force and they sent it. ``weights``: [n], as the rule was given them. ``clients``:
    int64 [n]. ``malicious``: bool [n].

    ``portion``: [d], the global parameters. ``reference``: [d], or None where the rule names no roots. d are the client
    portion's parameters; its buffers are averaged beside them and are not here. ``seed`` and ``scenario`` (its hash)
    are the run's. ``channel``: ``UPDATES``, or ``SERVER_UPDATES`` where rows are server replicas' updates and d the
    server portion's parameters.
    """

    round: int
    seed: int
    scenario: str
    assumed: int
    attacked: bool
    updates: torch.Tensor
    honest: torch.Tensor
    weights: torch.Tensor
    clients: np.ndarray
    malicious: torch.Tensor
    portion: torch.Tensor
    reference: torch.Tensor | None = None
    channel: Channel = Channel.UPDATES

    def before_poisoning(self) -> torch.Tensor:
        """What honest clients would have sent, [n, d]: a copy."""
        rows = self.updates.clone()
        if self.attacked:
            rows[self.malicious] = self.honest
        return rows

    def context(self, memory: State | None = None) -> RoundContext:
        """What the rule knew; a rule that remembers needs the ``memory`` that it left in the round before.

        ``rule.aggregate(recorded.updates, recorded.weights, recorded.context())`` is then what the run made of the
        round, bit for bit.
        """
        stream = rule_stream(self.seed, self.round, self.channel)
        if self.attacked:
            stream.integers(1 << 62)  # the attack's seed comes first from the same stream
        return RoundContext(
            self.round,
            self.clients,
            self.assumed,
            int(self.malicious.sum()),
            stream,
            memory or {},
            reference=self.reference,
            portion=self.portion,
        )


def folder_on(folder: Path, channel: Channel) -> Path:
    """Where under a run's ``updates`` the rounds of a channel lie."""
    return folder / "server" if channel is Channel.SERVER_UPDATES else folder


def path_of(folder: Path, round: int, channel: Channel = Channel.UPDATES) -> Path:
    """The file of a round under ``folder``, a run's ``updates``."""
    return folder_on(folder, channel) / f"round-{round:06d}.arrow"


def write_updates(folder: Path, recorded: RecordedRound) -> Path:
    """Write a round under ``folder`` (a run's ``updates``), atomically. Raises ``RunError`` where the disk is full or
    not writable."""
    dtype = {torch.float32: pa.float32(), torch.float64: pa.float64()}[recorded.updates.dtype]
    d = recorded.updates.shape[1]
    parts: list[tuple[torch.Tensor, object, object, object]] = [
        (recorded.updates, recorded.clients, recorded.weights, recorded.malicious)
    ]
    malicious = recorded.malicious if recorded.attacked else torch.zeros_like(recorded.malicious)
    parts.append(
        (
            recorded.honest,
            recorded.clients[malicious.numpy()],
            recorded.weights[malicious],
            recorded.malicious[malicious],
        )
    )
    parts.extend(
        (row.reshape(1, d), None, None, None) for row in (recorded.portion, recorded.reference) if row is not None
    )
    metadata = {
        "format": FORMAT,
        "round": recorded.round,
        "scenario": recorded.scenario,
        "seed": recorded.seed,
        "assumed": recorded.assumed,
        "attacked": int(recorded.attacked),
        "n": len(recorded.updates),
        "d": d,
        "channel": recorded.channel.value,
    }
    schema = pa.schema(
        [
            ("client", pa.int64()),
            ("weight", dtype),
            ("malicious", pa.bool_()),
            ("update", pa.list_(dtype, d)),
        ],
        metadata={f"raysplit.{name}": str(value) for name, value in metadata.items()},
    )
    path = path_of(folder, recorded.round, recorded.channel)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_through(path) as file, pa.ipc.new_file(file, schema, options=_OPTIONS) as writer:
            for rows, *columns in parts:
                writer.write_batch(_batch(rows, columns, schema))
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({error.strerror or error}); free some space, then resume the run"
        ) from error
    return path


_OPTIONS = pa.ipc.IpcWriteOptions(allow_64bit=True)
"""n·d may be above 2³¹."""


def _batch(rows: torch.Tensor, columns: list[object], schema: pa.Schema) -> pa.RecordBatch:
    flat = pa.array(rows.detach().cpu().contiguous().view(-1).numpy())
    lists = pa.FixedSizeListArray.from_arrays(flat, type=schema.field("update").type)
    others = [
        pa.nulls(len(rows), field.type) if column is None else pa.array(np.asarray(column), field.type)
        for field, column in zip(schema, columns, strict=False)
    ]
    return pa.record_batch([*others, lists], schema=schema)


def read_updates(path: Path) -> RecordedRound:
    """A recorded round, its matrices mapped into memory: writing into them changes pages of this process, never the
    file.

    Raises ``RunError`` where the file is missing, damaged, no recorded round, or of a newer format.
    """
    try:
        with open(path, "rb") as file:
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        whole = pa.py_buffer(pages)
        reader = pa.ipc.open_file(pa.BufferReader(whole))
        written = {name.decode(): value.decode() for name, value in (reader.schema.metadata or {}).items()}
        metadata = {name.removeprefix("raysplit."): value for name, value in written.items()}
        if int(metadata["format"]) > FORMAT:
            raise RunError(
                f"{path} was written by a newer RaySplit (format {metadata['format']}); update RaySplit to read it"
            )
        batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        for batch in batches:
            batch.validate()  # Arrow ends the process where a damaged length is negative
        matrices = [_matrix(batch, pages, whole) for batch in batches]
        received = batches[0]
        if len(batches) not in (3, 4) or matrices[0].shape != (int(metadata["n"]), int(metadata["d"])):
            raise ValueError("its batches are not those of a recorded round")
        return RecordedRound(
            int(metadata["round"]),
            int(metadata["seed"]),
            metadata["scenario"],
            int(metadata["assumed"]),
            bool(int(metadata["attacked"])),
            matrices[0],
            matrices[1],
            torch.from_numpy(received.column("weight").to_numpy().copy()),
            received.column("client").to_numpy().copy(),
            torch.from_numpy(received.column("malicious").to_numpy(zero_copy_only=False).copy()),
            matrices[2][0],
            matrices[3][0] if len(matrices) == 4 else None,
            Channel(metadata.get("channel", "updates")),
        )
    except FileNotFoundError:
        raise RunError(
            f"{path} does not exist; give a file such as runs/<name>-<hash>/updates/round-000010.arrow"
        ) from None
    except (
        OSError,
        KeyError,
        ValueError,
        TypeError,
        IndexError,
        OverflowError,
        MemoryError,
        pa.ArrowException,
    ) as error:
        raise RunError(f"{path} is no recorded round, or damaged ({first_line(error)}); give another file") from error


def _matrix(batch: pa.RecordBatch, pages: mmap.mmap, whole: pa.Buffer) -> torch.Tensor:
    """The ``update`` column as [rows, d] over the mapped pages themselves."""
    column = batch.column("update")
    values = column.flatten()
    dtype = np.dtype(values.type.to_pandas_dtype())
    d = column.type.list_size
    if len(column) == 0:
        return torch.from_numpy(np.empty((0, d), dtype))
    offset = values.buffers()[1].address - whole.address
    return torch.from_numpy(np.frombuffer(pages, dtype, len(column) * d, offset).reshape(len(column), d))


def recorded_rounds(folder: Path, channel: Channel = Channel.UPDATES) -> list[int]:
    """The rounds of a channel that are under ``folder``, a run's ``updates``, ascending."""
    return sorted(int(path.stem.rsplit("-", 1)[1]) for path in folder_on(folder, channel).glob("round-*.arrow"))


def rewind_updates(folder: Path, last_round: int) -> None:
    """Remove what was recorded after ``last_round``, and what a crash left half written."""
    for channel in CHANNELS:
        for round in recorded_rounds(folder, channel):
            if round > last_round:
                path_of(folder, round, channel).unlink()
        for scratch in folder_on(folder, channel).glob(".round-*.tmp"):
            scratch.unlink()


def adopt_updates(source: Path, folder: Path, last_round: int) -> None:
    """Copy another run's recorded rounds up to ``last_round``, as they are: they keep that run's scenario hash."""
    for channel in CHANNELS:
        for round in recorded_rounds(source, channel):
            if round <= last_round:
                folder_on(folder, channel).mkdir(parents=True, exist_ok=True)
                shutil.copy2(path_of(source, round, channel), path_of(folder, round, channel))
