"""An Arrow IPC stream that survives a crash: the frames, their checksums, and what of a file can be trusted.

A file is one schema message and then one record-batch message an append, nothing else (no end marker), so that any
Arrow reader follows it. Each batch message carries its own CRC-32 as custom metadata ``crc32``, eight hex digits taken
over the whole message with zeros in their place. What a crash can leave is an incomplete or half-written *last*
message; that is dropped. Damage before a whole message is damage, not a crash.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

import pyarrow as pa

_CONTINUATION = b"\xff\xff\xff\xff"
_UNSEALED = b"crc32=00000000"
_SEAL = re.compile(rb"crc32=([0-9a-f]{8})")


@dataclass(frozen=True)
class Scan:
    """What is trustworthy of a stream.

    ``batches``: whole batches before the first damage. ``end``: byte offset after the last of them.
    ``damage``: byte offset of damage that is followed by whole messages, or None: then what follows ``end`` is at most
    a cut last message.
    """

    schema: pa.Schema
    batches: list[pa.RecordBatch]
    end: int
    damage: int | None


def schema_message(schema: pa.Schema) -> bytes:
    """The message that opens a stream."""
    message: bytes = schema.serialize().to_pybytes()
    return message


def batch_message(batch: pa.RecordBatch) -> bytes:
    """The message that carries ``batch`` and its own checksum; equal batches give equal bytes."""
    head = len(schema_message(batch.schema))
    sink = pa.BufferOutputStream()
    writer = pa.ipc.new_stream(sink, batch.schema)
    writer.write_batch(batch, custom_metadata={"crc32": _UNSEALED.decode()})
    # The writer is left open: closing it would add an end marker, after which nothing can be appended.
    message: bytes = sink.getvalue().to_pybytes()[head:]
    return message.replace(_UNSEALED, b"crc32=%08x" % zlib.crc32(message), 1)


def scan(data: bytes) -> Scan:
    """Read what is whole in ``data``. Raises ``ValueError`` where not even the schema message is."""
    reader = pa.BufferReader(data)
    try:
        schema = pa.ipc.read_schema(reader)
        _ = [(field.name, str(field.type)) for field in schema]  # every name in it is text
    except (pa.ArrowException, EOFError, OSError, ValueError, MemoryError) as error:
        raise ValueError("no schema") from error
    offset = reader.tell()
    batches: list[pa.RecordBatch] = []
    while True:
        found = _batch_at(data, offset, schema)
        if found is None:
            break
        batch, offset = found
        batches.append(batch)
    return Scan(schema, batches, offset, offset if _message_after(data, offset, schema) else None)


def _batch_at(data: bytes, offset: int, schema: pa.Schema) -> tuple[pa.RecordBatch, int] | None:
    """The batch that begins at ``offset`` and the offset after it, or None where no whole one does."""
    if data[offset : offset + 4] != _CONTINUATION:
        return None
    reader = pa.BufferReader(memoryview(data)[offset:])
    try:
        pa.ipc.read_message(reader)
        end = offset + reader.tell()
        if not _sealed(data[offset:end]):
            return None
        stream = pa.ipc.open_stream(schema_message(schema) + data[offset:end])
        batch = stream.read_next_batch()
        batch.validate(full=True)  # whoever made the checksum may have made the rest, too
        return batch, end
    # Damaged flatbuffers reach Arrow's many layers, which complain in their own ways.
    except (pa.ArrowException, EOFError, StopIteration, OSError, ValueError, MemoryError, OverflowError):
        return None


def _sealed(message: bytes) -> bool:
    seal = _SEAL.search(message)
    if seal is None:
        return False
    unsealed = message[: seal.start()] + _UNSEALED + message[seal.end() :]
    return zlib.crc32(unsealed) == int(seal.group(1), 16)


def _message_after(data: bytes, offset: int, schema: pa.Schema) -> bool:
    """Whether a whole batch begins anywhere after ``offset``; messages lie at multiples of eight bytes."""
    place = data.find(_CONTINUATION, offset + 1)
    while place != -1:
        if place % 8 == 0 and _batch_at(data, place, schema) is not None:
            return True
        place = data.find(_CONTINUATION, place + 1)
    return False
