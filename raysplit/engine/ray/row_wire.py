"""Portions on their way from client hosts straight to the column shards: raw bytes over TCP, a piece a shard, nothing
pickled.

A host sends a portion when its client has finished and keeps none; a shard reads each piece into the place where it
stays. So no process holds more than its share of a round's n·d floats, and the driver none of them.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from typing import NamedTuple

import torch

from raysplit.aggregation.sharding.shard import ColumnShard
from raysplit.engine.ray.handshake import Greetings, introduce
from raysplit.engine.ray.wire import ANSWER_TIMEOUT_S, PeerLost, raw_bytes

_PIECE = struct.Struct("<iq")  # position, bytes that follow
LOOK_UP_S = 0.2


class RowSinkAddress(NamedTuple):
    """Where the portions of a round go: of each shard its address and which floats it takes, and the token of this
    attempt at the round."""

    addresses: tuple[tuple[str, int], ...]
    bounds: tuple[tuple[int, int], ...]
    token: bytes


class RowSender:
    """A host's wires to all shards for one round."""

    def __init__(self, sink: RowSinkAddress, host: int) -> None:
        """Connect and introduce this host; raises ``PeerLost`` where a shard does not listen."""
        self._wires: list[tuple[socket.socket, tuple[int, int]]] = []
        for address, bounds in zip(sink.addresses, sink.bounds, strict=True):
            try:
                connection = socket.create_connection(address, timeout=30)
                self._wires.append((connection, bounds))
                introduce(connection, sink.token, host, ANSWER_TIMEOUT_S)
            except OSError as error:
                self.close()
                raise PeerLost(f"the column shard at {address[0]}:{address[1]} does not answer") from error

    def send(self, position: int, portion: torch.Tensor) -> None:
        """Send a finished client's portion, [d], to pieces. Raises ``PeerLost`` where a shard is gone."""
        whole = portion.detach().cpu().contiguous()
        try:
            for connection, (first, last) in self._wires:
                piece = raw_bytes(whole[first:last])
                connection.sendall(_PIECE.pack(position, len(piece)))
                connection.sendall(piece)
        except OSError as error:
            raise PeerLost(f"a wire to a column shard broke ({error.strerror})") from error

    def close(self) -> None:
        for connection, _ in self._wires:
            connection.close()


def receive_rows(listener: socket.socket, token: bytes, shard: ColumnShard, hung_up: threading.Event) -> None:
    """Take in pieces from whichever hosts know ``token`` until ``shard`` has all its rows. Raises ``PeerLost`` once
    ``hung_up`` is set."""
    hosts: set[socket.socket] = set()
    with Greetings(listener, token) as greetings:
        try:
            while not shard.complete:
                if hung_up.is_set():
                    raise PeerLost("this column shard was told to hang up")
                for key, _ in greetings.waiting.select(LOOK_UP_S):
                    peer = key.fileobj
                    if not isinstance(peer, socket.socket):
                        continue
                    if peer in hosts:
                        if not _take(peer, shard, hung_up):
                            hosts.remove(peer)
                            greetings.waiting.unregister(peer)
                            peer.close()
                    elif greetings.of(peer) and (greeted := greetings.hear(peer)) is not None:
                        hosts.add(greeted[1])
                        greetings.waiting.register(greeted[1], selectors.EVENT_READ)
                greetings.expire()
        finally:
            for connection in hosts:
                connection.close()


def _take(connection: socket.socket, shard: ColumnShard, hung_up: threading.Event) -> bool:
    """Read one piece into its row; False where the host has closed the wire, having sent what it had or not."""
    connection.settimeout(LOOK_UP_S)
    header = bytearray(_PIECE.size)
    if not _into(memoryview(header), connection, hung_up):
        return False
    position, size = _PIECE.unpack(header)
    if not shard.wants(position):
        raise PeerLost(f"a piece of client {position} of this round came, which was not waited for")
    row = raw_bytes(shard.row(position))
    if len(row) != size:
        raise PeerLost(f"a piece of {size} bytes came where {len(row)} were expected")
    if not _into(row, connection, hung_up):
        return False
    shard.received(position)
    return True


def _into(view: memoryview, connection: socket.socket, hung_up: threading.Event) -> bool:
    while len(view):
        try:
            received = connection.recv_into(view)
        except TimeoutError:
            if hung_up.is_set():
                return False
            continue
        except OSError:
            return False
        if received == 0:
            return False
        view = view[received:]
    return True
