"""What an adversary wrote down, on disk: ``observations/round-000012.arrow``, a row a tensor.

Columns: ``hook``, ``channel``, ``client``, ``step``, ``position``, ``name`` (``tensor`` or ``labels`` for
``Scenario.observe``), ``dtype``, ``shape`` and ``data``, the tensor's own little-endian bytes in row-major order. What
the samples really were is not in there.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import torch

from raysplit.channels.channel import Channel
from raysplit.channels.hooks import Observation
from raysplit.errors import RunError, first_line
from raysplit.storage.atomic import write_through

FORMAT = 1
_TYPES = {"float32": torch.float32, "float64": torch.float64, "int64": torch.int64}
_SCHEMA = pa.schema(
    [
        pa.field("hook", pa.string(), nullable=False),
        pa.field("channel", pa.string(), nullable=False),
        pa.field("client", pa.int64(), nullable=False),
        pa.field("step", pa.int32(), nullable=False),
        pa.field("position", pa.int32(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("dtype", pa.string(), nullable=False),
        pa.field("shape", pa.list_(pa.int64()), nullable=False),
        pa.field("data", pa.large_binary(), nullable=False),
    ]
)


def path_of(folder: Path, round: int) -> Path:
    """The file of a round under ``folder``, a run's ``observations``."""
    return folder / f"round-{round:06d}.arrow"


def write_observations(folder: Path, round: int, observations: Iterable[Observation]) -> None:
    """Write what was noted in a round, atomically; nothing where nothing was. Raises ``RunError`` where the disk is full
    or not writable."""
    rows = [_row(noted, name, tensor) for noted in observations for name, tensor in noted.tensors.items()]
    if not rows:
        return
    schema = _SCHEMA.with_metadata({"raysplit.format": str(FORMAT), "raysplit.round": str(round)})
    path = path_of(folder, round)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_through(path) as file, pa.ipc.new_file(file, schema) as writer:
            writer.write_table(pa.Table.from_pylist(rows, schema))
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({error.strerror or error}); free some space, then resume the run"
        ) from error


def _row(noted: Observation, name: str, tensor: torch.Tensor) -> dict[str, object]:
    kind = str(tensor.dtype).removeprefix("torch.")
    if kind not in _TYPES:
        raise RunError(
            f"{noted.hook} notes a tensor of type {kind}, which no file of observations holds; note {' or '.join(_TYPES)}"
        )
    return {
        "hook": noted.hook,
        "channel": noted.channel.value,
        "client": noted.client,
        "step": noted.step,
        "position": noted.position,
        "name": name,
        "dtype": kind,
        "shape": list(tensor.shape),
        "data": tensor.detach().cpu().contiguous().numpy().tobytes(),
    }


def read_observations(folder: Path, round: int) -> list[Observation] | None:
    """What was noted in a round, in the order in which it was written; None where nothing was kept of it. Raises
    ``RunError`` where the file is damaged or of a newer format."""
    path = path_of(folder, round)
    if not path.exists():
        return None
    try:
        with pa.memory_map(str(path)) as file:
            reader = pa.ipc.open_file(file)
            version = int((reader.schema.metadata or {})[b"raysplit.format"])
            if version > FORMAT:
                raise RunError(f"{path} was written by a newer RaySplit (format {version}); update RaySplit to read it")
            batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
            for batch in batches:
                batch.validate(full=True)  # Arrow ends the process where a damaged length is negative
            rows = [row for batch in batches for row in batch.to_pylist()]
        found: list[Observation] = []
        for row in rows:
            address = (row["hook"], Channel(row["channel"]), round, row["client"], row["step"], row["position"])
            tensor = _tensor(row)
            if found and _address(found[-1]) == address and row["name"] not in found[-1].tensors:
                found[-1] = Observation(*address, {**found[-1].tensors, row["name"]: tensor})
            else:
                found.append(Observation(*address, {row["name"]: tensor}))
        return found
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, MemoryError, pa.ArrowException) as error:
        raise RunError(
            f"{path} is no file of observations, or damaged ({first_line(error)}); remove it, and they are computed again"
        ) from error


def _address(noted: Observation) -> tuple[str, Channel, int, int, int, int]:
    return noted.hook, noted.channel, noted.round, noted.client, noted.step, noted.position


def _tensor(row: dict[str, object]) -> torch.Tensor:
    data, shape = row["data"], row["shape"]
    if not isinstance(data, bytes) or not isinstance(shape, list):
        raise ValueError("a tensor has no data, or no shape")
    flat = torch.frombuffer(bytearray(data), dtype=_TYPES[str(row["dtype"])]) if data else torch.empty(0)
    return flat.to(_TYPES[str(row["dtype"])]).view(shape)


def observed_rounds(folder: Path) -> list[int]:
    """The rounds of which something was kept, ascending."""
    return sorted(int(path.stem.rsplit("-", 1)[1]) for path in folder.glob("round-*.arrow"))


def rewind_observations(folder: Path, last_round: int) -> None:
    """Remove what was kept after ``last_round``, and what a crash left half written."""
    for round in observed_rounds(folder):
        if round > last_round:
            path_of(folder, round).unlink()
    for scratch in folder.glob(".round-*.tmp"):
        scratch.unlink()


def adopt_observations(source: Path, folder: Path, last_round: int) -> None:
    """Copy another run's observations up to ``last_round``."""
    for round in observed_rounds(source):
        if round <= last_round:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path_of(source, round), path_of(folder, round))
