"""Both halves of a handshake, for tests: a host that calls from a thread, and a listener that greets whoever comes."""

from __future__ import annotations

import socket
import threading
import time

from raysplit.engine.ray.handshake import Greetings
from raysplit.engine.ray.wire import PeerLost, WireLink

WAIT_S = 10.0


class Calling:
    """In a ``with``: a host that calls ``address``; ``link`` gives its wire, or raises as it did."""

    def __init__(self, address: tuple[str, int], token: bytes, host: int) -> None:
        self._link: WireLink | None = None
        self._failure: PeerLost | None = None
        self._thread = threading.Thread(target=self._call, args=(address, token, host), daemon=True)

    def _call(self, address: tuple[str, int], token: bytes, host: int) -> None:
        try:
            self._link = WireLink(address, token, host)
        except PeerLost as failure:
            self._failure = failure

    def link(self) -> WireLink:
        self._thread.join(WAIT_S)
        if self._failure is not None:
            raise self._failure
        assert self._link is not None
        return self._link

    def __enter__(self) -> Calling:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.join(WAIT_S)


def let_in(listener: socket.socket, token: bytes, wait_s: float = WAIT_S) -> tuple[int, socket.socket] | None:
    """The first that proves to know ``token``; None where nobody does within ``wait_s``."""
    until = time.monotonic() + wait_s
    with Greetings(listener, token) as greetings:
        while time.monotonic() < until:
            for greeted in greetings.let_in(0.02):
                return greeted
    return None
