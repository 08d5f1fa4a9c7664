"""A small made-up population for the tests of the file format, and well-formed lies about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from raysplit.errors import PopulationError
from raysplit.population.arrow import ArrowFile, OpenArrow
from raysplit.population.arrow_writer import ClientData, write_population
from raysplit.population.population import PopulationInfo

SHAPE = (2, 3, 4)
CLASSES = 5


def make_clients(count: int = 40, seed: int = 0) -> list[ClientData]:
    rng = np.random.default_rng(seed)

    def rows(n: int) -> tuple[np.ndarray, np.ndarray]:
        return rng.integers(0, 256, (n, *SHAPE), dtype=np.uint8), rng.integers(0, CLASSES, n)

    return [ClientData(f"writer-{k}", *rows(1 + k % 7), *rows(k % 3)) for k in range(count)]


def write(path: Path, clients: list[ClientData], batch_bytes: int = 400) -> PopulationInfo:
    return write_population(
        path, clients, name="tiny", shape=SHAPE, classes=CLASSES, description="made up", batch_bytes=batch_bytes
    )


def opened(path: Path) -> OpenArrow:
    return ArrowFile(str(path)).open()


def refuses(path: Path, *words: str) -> None:
    with pytest.raises(PopulationError) as caught:
        opened(path)
    sentence = str(caught.value)
    assert "\n" not in sentence and len(sentence) < 600
    for word in words:
        assert word in sentence


def rewrite(file: Path, metadata: dict[bytes, bytes] | None = None, columns: dict[str, pa.Array] | None = None) -> None:
    """Write an Arrow file again with other metadata or columns, in the same batches: a well-formed lie."""
    with pa.ipc.open_file(pa.py_buffer(file.read_bytes())) as reader:
        batches = [reader.get_batch_with_custom_metadata(i) for i in range(reader.num_record_batches)]
        schema = reader.schema.with_metadata((reader.schema.metadata or {}) | (metadata or {}))
    with pa.ipc.new_file(str(file), schema) as writer:
        for batch, custom in batches:
            arrays = [(columns or {}).get(name, batch.column(name)) for name in schema.names]
            writer.write_batch(pa.record_batch(arrays, schema=schema), custom_metadata=custom)
