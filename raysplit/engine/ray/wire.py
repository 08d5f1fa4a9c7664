"""The wire between a client host and a main server in another process: tensors as raw bytes over a TCP socket.

Ray places the actors and moves what a round begins and ends with; the thousands of small messages in between go
straight from host to server, so Ray calls stay O(hosts) a round. No pickling: a fixed header, then the tensor's own
bytes. A tensor arrives with the strides with which it left, because kernels choose their order of summation by them.
"""

from __future__ import annotations

import contextlib
import math
import queue
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import numpy as np
import torch

from raysplit.channels.channel import Channel
from raysplit.channels.message import Message, Score
from raysplit.engine.ray.handshake import introduce

_HEADER = struct.Struct("<BBBiqiiqdq")
"""Channel, dtype, dimensions, round, client, step, position, labels, loss, correct."""
_CHANNELS = tuple(Channel)
_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_UNSCORED = -1
CALL_TIMEOUT_S = 60
"""How long a server waits for the hosts of a round to call."""
ANSWER_TIMEOUT_S = 600
"""How long a host that has called waits to be greeted; who waits for a lost server is hung up on before."""
MOST_DIMENSIONS = 8
MOST_BYTES = 1 << 32
"""Of a tensor, and of labels; what a frame says beyond it is none of ours, and nothing is allocated."""


class PeerLost(ConnectionError):
    """The other end of the wire is gone; the round is played again."""


class Wire:
    """One connection. A thread reads messages as they come, so that two ends that both send can never block each
    other."""

    def __init__(self, connection: socket.socket, inbox: Callable[[Message | None], None]) -> None:
        """``inbox`` is called from the reading thread with every message, and with None when the other end is gone."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        self._inbox = inbox
        self._thread = threading.Thread(target=self._read, daemon=True, name="raysplit-wire")
        self._thread.start()

    def send(self, message: Message) -> None:
        """Raises ``PeerLost`` where the other end is gone."""
        tensor = _dense(message.tensor.detach().cpu())
        labels = message.labels
        score = message.score or Score(0.0, _UNSCORED)
        header = _HEADER.pack(
            _CHANNELS.index(message.channel),
            _DTYPES.index(tensor.dtype),
            tensor.dim(),
            message.round,
            message.client,
            message.step,
            message.position,
            0 if labels is None else labels.numel(),
            *score,
        )
        shape = np.array([*tensor.shape, *tensor.stride()], dtype=np.int64).tobytes()
        flat = tensor.as_strided((tensor.numel(),), (1,))
        try:
            self._connection.sendall(header + shape)
            self._connection.sendall(raw_bytes(flat))
            if labels is not None:
                self._connection.sendall(raw_bytes(labels.cpu().contiguous()))
        except OSError as error:
            raise PeerLost(f"the wire broke while sending ({error.strerror})") from error

    def close(self) -> None:
        with contextlib.suppress(OSError):  # the other end may have hung up first
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _read(self) -> None:
        try:
            while True:
                self._inbox(self._message())
        except (OSError, EOFError, ValueError, RuntimeError, MemoryError):  # gone, or not one of ours
            self.close()
            self._inbox(None)

    def _message(self) -> Message:
        header = _HEADER.unpack(self._exactly(_HEADER.size))
        channel, dtype, dimensions, round, client, step, position, labels, loss, correct = header
        if channel >= len(_CHANNELS) or dtype >= len(_DTYPES) or dimensions > MOST_DIMENSIONS:
            raise ValueError("a frame of another kind")
        sizes = np.frombuffer(self._exactly(16 * dimensions), dtype=np.int64)
        shape, strides = sizes[:dimensions].tolist(), sizes[dimensions:].tolist()
        flat = torch.empty(_numbers(shape, strides, _DTYPES[dtype].itemsize), dtype=_DTYPES[dtype])
        self._into(raw_bytes(flat))
        y = None
        if not 0 <= labels <= MOST_BYTES // 8:
            raise ValueError("labels that no batch has")
        if labels:
            y = torch.empty(labels, dtype=torch.int64)
            self._into(raw_bytes(y))
        score = None if correct == _UNSCORED else Score(loss, correct)
        tensor = flat.as_strided(shape, strides)
        return Message(_CHANNELS[channel], round, client, step, tensor, y, position, score)

    def _exactly(self, count: int) -> bytearray:
        data = bytearray(count)
        self._into(memoryview(data))
        return data

    def _into(self, view: memoryview) -> None:
        while len(view):
            received = self._connection.recv_into(view)
            if received == 0:
                raise EOFError("the other end closed the wire")
            view = view[received:]


class WireLink:
    """A client host's end: the ``ServerLink`` of ``placement="pooled"``."""

    def __init__(self, address: tuple[str, int], token: bytes, host: int) -> None:
        """Connect and introduce this host; raises ``PeerLost`` where nobody listens."""
        try:
            connection = socket.create_connection(address, timeout=30)
            with closed_if_it_fails(connection):
                introduce(connection, token, host, ANSWER_TIMEOUT_S)
        except OSError as error:
            raise PeerLost(f"the main server at {address[0]}:{address[1]} does not answer") from error
        self._replies: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._wire = Wire(connection, self._replies.put)

    def send(self, message: Message) -> None:
        self._wire.send(message)

    def receive(self) -> Message:
        message = self._replies.get()
        if message is None:
            raise PeerLost("the main server is gone")
        return message

    def close(self) -> None:
        self._wire.close()


@contextlib.contextmanager
def closed_if_it_fails(connection: socket.socket) -> Iterator[None]:
    """A connection that is closed where the ``with`` ends with an error."""
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _numbers(shape: list[int], strides: list[int], itemsize: int) -> int:
    """How many numbers a tensor has that fills one block of memory. Raises ``ValueError`` for a shape and strides that
    none has, or for more than ``MOST_BYTES``."""
    count = math.prod(shape)
    if min(shape, default=0) < 0 or min(strides, default=0) < 0 or count * itemsize > MOST_BYTES:
        raise ValueError("a tensor that is none")
    if count and 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) > count:
        raise ValueError("strides that lead out of the tensor")
    return count


def _dense(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself if its elements fill one block of memory in some order; else a contiguous copy."""
    span = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    distinct = sorted((stride, size) for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if size > 1)
    expected = 1
    for stride, size in distinct:
        if stride != expected:
            return tensor.contiguous()
        expected *= size
    return tensor if span == tensor.numel() else tensor.contiguous()


def raw_bytes(flat: torch.Tensor) -> memoryview:
    """The memory itself of a contiguous tensor on the CPU, [k], to read from or into."""
    return memoryview(flat.view(torch.uint8).numpy())  # type: ignore[arg-type]
