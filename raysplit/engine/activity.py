"""What a process of an engine is doing, for whoever asks from another thread: how far it has come, for which client, and
whether it waits for somebody else."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from raysplit.channels.message import Message
from raysplit.training.failures import users_place
from raysplit.training.links import ServerLink
from raysplit.training.slot_pool import RowSink


@dataclass(frozen=True)
class Doing:
    """What a process answered. ``taken``: a count that grows with every step; ``waits``: for another process, so that
    it cannot be blamed; ``place``: where its code is, the user's before RaySplit's."""

    taken: int
    waits: bool
    round: int | None
    client: int | None
    place: str


class Activity:
    """Noted by the thread that works; cheap enough for every step. Reading it disturbs nobody."""

    def __init__(self) -> None:
        self._taken, self._waits = 0, 0
        self._round: int | None = None
        self._client: int | None = None
        self._thread: int | None = None

    def step(self, round: int | None, client: int) -> None:
        """A step of a client begins; ``round`` None: of an evaluation."""
        self._round, self._client, self._taken = round, client, self._taken + 1

    def tick(self) -> None:
        """Something goes on."""
        self._taken += 1

    @contextmanager
    def call(self) -> Iterator[None]:
        """The length of one call, in this thread."""
        self._round = self._client = None
        self._taken, self._thread = self._taken + 1, threading.get_ident()
        try:
            yield
        finally:
            self._taken, self._thread = self._taken + 1, None

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """This process waits for another one."""
        self._waits += 1
        try:
            yield
        finally:
            self._waits -= 1
            self._taken += 1

    def now(self) -> Doing:
        """For another thread."""
        frame = None if self._thread is None else sys._current_frames().get(self._thread)
        place = "" if frame is None else users_place(traceback.extract_stack(frame))
        waits = self._waits > 0 or self._thread is None  # for its arguments to arrive
        return Doing(self._taken, waits, self._round, self._client, place)


class WatchedLink:
    """A ``ServerLink`` on which waiting is noted."""

    def __init__(self, link: ServerLink, activity: Activity) -> None:
        self._link, self._activity = link, activity

    def send(self, message: Message) -> None:
        with self._activity.waiting():
            self._link.send(message)

    def receive(self) -> Message:
        with self._activity.waiting():
            return self._link.receive()


def watched_sink(sink: RowSink | None, activity: Activity) -> RowSink | None:
    """A sink of finished portions in which waiting is noted."""
    if sink is None:
        return None

    def send(position: int, portion: torch.Tensor) -> None:
        with activity.waiting():
            sink(position, portion)

    return send
