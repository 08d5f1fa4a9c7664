"""The readers of sockets, given bytes by strangers, by hosts that know the secret and lie, and by those that stop in the
middle: nobody is let in without the secret, nothing is allocated on a frame's word, every reader ends, and whoever
comes next is served."""

from __future__ import annotations

import contextlib
import queue
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch

from raysplit.aggregation.sharding.shard import ColumnShard
from raysplit.channels.channel import Channel
from raysplit.channels.message import Message
from raysplit.engine.ray.handshake import TOKEN_BYTES, Greetings, introduce
from raysplit.engine.ray.row_wire import receive_rows
from raysplit.engine.ray.wire import MOST_BYTES, PeerLost, Wire
from tests.fuzz.damage import damaged
from tests.fuzz.playing import Finding

TOKEN = bytes(range(TOKEN_BYTES))
WAIT_S = 10.0


@dataclass(frozen=True)
class Socket:
    """A reader of a socket. ``try_one``: what is wrong with how it took one input; None: nothing."""

    name: str
    try_one: Callable[[socket.socket, random.Random], str | None]


def _greeting(listener: socket.socket, draw: random.Random) -> str | None:
    """A stranger speaks first, or answers the challenge with anything; then a host calls."""
    said = draw.randbytes(draw.choice((0, 1, 67, 68, 69, 500)))
    with socket.create_connection(listener.getsockname()) as stranger, Greetings(listener, TOKEN) as greetings:
        stranger.sendall(said)
        if draw.random() < 0.5:
            stranger.shutdown(socket.SHUT_WR)
        for _ in range(3):
            if greetings.let_in(0.001):
                return "a stranger was let in"
    return None


class _Peers:
    """A host and a main server, connected and known to each other."""

    def __init__(self, listener: socket.socket) -> None:
        self.host = socket.create_connection(listener.getsockname())
        calling = threading.Thread(target=introduce, args=(self.host, TOKEN, 0, WAIT_S), daemon=True)
        calling.start()
        with Greetings(listener, TOKEN) as greetings:
            while not (greeted := greetings.let_in(0.05)):
                pass
        calling.join(WAIT_S)
        self.server = greeted[0][1]


def _frame(draw: random.Random) -> bytes:
    """What a host sends for a message."""
    sent: list[bytes] = []

    class Recorder:
        def sendall(self, data: bytes) -> None:
            sent.append(bytes(data))

    wire = Wire.__new__(Wire)
    wire._connection = Recorder()  # type: ignore[assignment]
    shape = [draw.randrange(1, 5) for _ in range(draw.randrange(4))]
    labels = torch.arange(draw.randrange(1, 5)) if draw.random() < 0.5 else None
    wire.send(Message(draw.choice(list(Channel)), 1, 2, 3, torch.ones(shape), labels, 4))
    return b"".join(sent)


def _header(draw: random.Random) -> bytes:
    """A header whose every field is anything, and as many bytes after it as it may ask for, or fewer."""
    extreme = (0, 1, -1, 2**31 - 1, 2**40, 2**63 - 1, -(2**63))
    small = (0, 1, 3, 7, 9, 200, 255)
    head = struct.pack(
        "<BBBiqiiqdq", *(draw.choice(small) for _ in range(3)), 1, draw.choice(extreme), 1, 1, *(draw.choice(extreme), 0.0),
        draw.choice(extreme),
    )  # fmt: skip
    sizes = b"".join(struct.pack("<q", draw.choice((0, 1, 2, 3, *extreme))) for _ in range(head[2] * 2))
    return head + sizes[: draw.choice((len(sizes), len(sizes) // 2))] + draw.randbytes(draw.randrange(64))


def _wire(listener: socket.socket, draw: random.Random) -> str | None:
    """Whatever a host sends, the server's reader hands on whole messages and then says that the host is gone."""
    peers = _Peers(listener)
    inbox: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
    wire = Wire(peers.server, inbox.put)
    said = b"".join(_frame(draw) for _ in range(draw.randrange(3)))
    said += draw.choice((damaged(_frame(draw), draw), _header(draw), draw.randbytes(draw.randrange(300))))
    with peers.host:
        with contextlib.suppress(OSError):  # the server may have hung up by now
            peers.host.sendall(said)
            peers.host.shutdown(socket.SHUT_WR)
        wrong = _ends(inbox)
    wire.close()
    return wrong


def _ends(inbox: queue.SimpleQueue[Message | None]) -> str | None:
    try:
        while (message := inbox.get(timeout=WAIT_S)) is not None:
            if message.tensor.numel() * message.tensor.element_size() > MOST_BYTES:
                return "a tensor beyond the bound"
            message.tensor.clone()
    except queue.Empty:
        return "the reader never ended"
    return None


class _Shard(ColumnShard):
    """Two rows of five numbers."""

    def __init__(self) -> None:
        super().__init__()
        self._matrix = torch.zeros(2, 5)
        self._row_of = {3: 0, 4: 1}
        self._missing = {3, 4}

    def received(self, position: int) -> None:
        self._missing.discard(position)


def _rows(listener: socket.socket, draw: random.Random) -> str | None:
    """Whatever a host sends, a shard ends complete, or with ``PeerLost`` at the latest when it is told to."""
    shard, hung_up, ended = _Shard(), threading.Event(), []

    def gather() -> None:
        try:
            receive_rows(listener, TOKEN, shard, hung_up)
            ended.append("")
        except PeerLost:
            ended.append("")
        except Exception as error:
            ended.append(f"{type(error).__name__}: {error}")

    thread = threading.Thread(target=gather, daemon=True)
    thread.start()
    whole = b"".join(struct.pack("<iq", position, 20) + bytes(20) for position in (3, 4))
    with socket.create_connection(listener.getsockname()) as host, contextlib.suppress(OSError):
        introduce(host, TOKEN, 0, WAIT_S)
        lie = struct.pack("<iq", draw.choice((3, 4, 5, -1)), draw.choice((20, 0, -1, 2**40, 2**63 - 1))) + bytes(20)
        host.sendall(draw.choice((damaged(whole, draw), lie, whole + lie, whole[:30] + lie)))
        host.shutdown(socket.SHUT_WR)
        thread.join(0.05)
    hung_up.set()
    thread.join(WAIT_S)
    if not ended:
        return "the shard never ended"
    return ended[0] or None


TARGETS = (Socket("greetings", _greeting), Socket("wire", _wire), Socket("rows", _rows))


def play(target: Socket, seed: int, numbers: Iterable[int]) -> Iterator[Finding | None]:
    """Play inputs at one listener; after each, a host that knows the secret is let in."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for number in numbers:
            began = time.monotonic()
            where = target.try_one(listener, random.Random(f"{target.name} {seed} {number}"))
            if where is None:
                peers = _Peers(listener)
                peers.host.close(), peers.server.close()
            if where is None and time.monotonic() - began > WAIT_S:
                where = f"longer than {WAIT_S} s"
            yield None if where is None else Finding(target.name, number, where)
