"""Who is let in at a listening socket: whoever knows the secret, which itself never crosses the wire.

The listener sends a fresh nonce n; the host answers with its index, a nonce m of its own and HMAC-SHA256(secret,
"host" n m index); the listener proves itself with HMAC-SHA256(secret, "listener" n m index). Both compare in constant
time. Nothing is read of a stranger but the ``_ANSWER.size`` bytes of an answer, and none is waited for longer than
``PATIENCE_S`` or keeps others waiting.
"""

from __future__ import annotations

import contextlib
import hmac
import secrets
import selectors
import socket
import struct
import time
from dataclasses import dataclass, field

TOKEN_BYTES = 32
PATIENCE_S = 5.0
"""How long a peer that has connected may take to answer."""
MOST = 128
"""Peers that are being greeted at once; another one takes the place of the first of them."""
_MAGIC = b"raysplit wire 2\n"
_NONCE_BYTES = 32
_PROOF_BYTES = 32
_CHALLENGE = struct.Struct(f"<{len(_MAGIC)}s{_NONCE_BYTES}s")
_ANSWER = struct.Struct(f"<i{_NONCE_BYTES}s{_PROOF_BYTES}s")  # host, nonce, proof


def introduce(connection: socket.socket, token: bytes, host: int, patience_s: float) -> None:
    """A host's half, on a fresh connection. Raises ``OSError`` where the other end does not know ``token``, or does not
    answer within ``patience_s``."""
    deadline = time.monotonic() + patience_s
    magic, theirs = _CHALLENGE.unpack(_exactly(connection, _CHALLENGE.size, deadline))
    if magic != _MAGIC:
        raise ConnectionError("what listens there is not RaySplit")
    own = secrets.token_bytes(_NONCE_BYTES)
    connection.sendall(_ANSWER.pack(host, own, _proof(token, b"host", theirs, own, host)))
    proof = _exactly(connection, _PROOF_BYTES, deadline)
    if not hmac.compare_digest(proof, _proof(token, b"listener", theirs, own, host)):
        raise ConnectionError("what listens there does not know this run's secret")
    connection.settimeout(None)
    keep_alive(connection)


def keep_alive(connection: socket.socket) -> None:
    """Find out, within about two minutes, that the other machine is gone, also while nothing is sent."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, option):  # not everywhere
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


@dataclass
class _Greeted:
    """A peer that has been sent a nonce, and what it has answered so far."""

    nonce: bytes
    until: float
    answer: bytearray = field(default_factory=bytearray)


class Greetings:
    """A listener's half, for many peers at once; use as a context manager. Others may wait at the same selector:
    ``waiting``."""

    def __init__(self, listener: socket.socket, token: bytes) -> None:
        listener.setblocking(False)
        self._listener, self._token = listener, token
        self._greeted: dict[socket.socket, _Greeted] = {}
        self.waiting = selectors.DefaultSelector()
        self.waiting.register(listener, selectors.EVENT_READ)

    def let_in(self, patience_s: float) -> list[tuple[int, socket.socket]]:
        """(host, connection) of those who prove themselves while nothing is waited for longer than ``patience_s``, for
        a loop that has no other sockets."""
        ready = [key.fileobj for key, _ in self.waiting.select(patience_s)]
        heard = [self.hear(peer) for peer in ready if isinstance(peer, socket.socket) and self.of(peer)]
        self.expire()
        return [greeted for greeted in heard if greeted is not None]

    def of(self, peer: object) -> bool:
        """Whether a ready socket is the listener, or a peer that is being greeted."""
        return peer is self._listener or peer in self._greeted

    def hear(self, peer: socket.socket) -> tuple[int, socket.socket] | None:
        """A ready socket; (host, connection) once that has proved that it knows the secret. Raises ``OSError`` where
        the listener is closed."""
        if peer is self._listener:
            self._accept()
            return None
        greeted = self._greeted[peer]
        try:
            received = peer.recv(_ANSWER.size - len(greeted.answer))
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            received = b""
        greeted.answer += received
        if received and len(greeted.answer) < _ANSWER.size:
            return None
        if received and (host := self._proven(peer, greeted)) is not None:
            del self._greeted[peer]
            self.waiting.unregister(peer)
            peer.settimeout(None)
            keep_alive(peer)
            return host, peer
        self._turn_away(peer)
        return None

    def expire(self) -> None:
        """Turn away who has not answered in time."""
        now = time.monotonic()
        for peer in [peer for peer, greeted in self._greeted.items() if greeted.until < now]:
            self._turn_away(peer)

    def __enter__(self) -> Greetings:
        return self

    def __exit__(self, *error: object) -> None:
        """Turn away who is being greeted; the listener stays open."""
        for peer in list(self._greeted):
            self._turn_away(peer)
        self.waiting.close()

    def _accept(self) -> None:
        try:
            peer, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError, InterruptedError):
            return  # it has hung up already
        if len(self._greeted) == MOST:
            self._turn_away(next(iter(self._greeted)))
        peer.setblocking(False)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        try:
            peer.sendall(_CHALLENGE.pack(_MAGIC, nonce))  # a fresh socket has room for it
        except OSError:
            peer.close()
            return
        self._greeted[peer] = _Greeted(nonce, time.monotonic() + PATIENCE_S)
        self.waiting.register(peer, selectors.EVENT_READ)

    def _proven(self, peer: socket.socket, greeted: _Greeted) -> int | None:
        """The host, where its proof is right, and having been given ours."""
        host, theirs, proof = _ANSWER.unpack(greeted.answer)
        if not hmac.compare_digest(proof, _proof(self._token, b"host", greeted.nonce, theirs, host)):
            return None
        try:
            peer.sendall(_proof(self._token, b"listener", greeted.nonce, theirs, host))
        except OSError:
            return None
        return int(host)

    def _turn_away(self, peer: socket.socket) -> None:
        del self._greeted[peer]
        self.waiting.unregister(peer)
        peer.close()


def turn_away_waiting(listener: socket.socket, most: int = 1024) -> None:
    """Hang up on whoever has connected and was not greeted yet; on no more than ``most``, however many come."""
    listener.setblocking(False)
    with contextlib.suppress(OSError):  # nobody is left
        for _ in range(most):
            listener.accept()[0].close()


def _proof(token: bytes, party: bytes, of_listener: bytes, of_host: bytes, host: int) -> bytes:
    return hmac.digest(token, party + b"\0" + of_listener + of_host + struct.pack("<i", host), "sha256")


def _exactly(connection: socket.socket, count: int, deadline: float) -> bytes:
    data = b""
    while len(data) < count:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        received = connection.recv(count - len(data))
        if not received:
            raise ConnectionError("the other end hung up")
        data += received
    return data
