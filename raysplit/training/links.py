"""A client host's end of the connection to the main server: messages go out, and each is answered in time."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from raysplit.channels.hooks import PartyEnd
from raysplit.channels.message import Message
from raysplit.training.server import MainServer, serve


class ServerLink(Protocol):
    """Each message is answered by one; a server that waits answers many at once, to whichever clients."""

    def send(self, message: Message) -> None: ...

    def receive(self) -> Message: ...


class DirectLink:
    """The main server in the same process (``placement="colocated"``), behind its ``end`` of the channels."""

    def __init__(self, server: MainServer, end: PartyEnd) -> None:
        self._server, self._end = server, end
        self._replies: deque[Message] = deque()

    def send(self, message: Message) -> None:
        self._replies.extend(serve(self._server, self._end, message))

    def receive(self) -> Message:
        return self._replies.popleft()
