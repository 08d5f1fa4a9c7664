"""Calls of actors that are waited for together: each has a deadline, and whoever hangs is killed, so that the others can
end.

At half of its deadline, at the whole of it, and then after every further half, each actor whose call is still out is
asked what it does. Who did not answer twice, or was asked twice at the same step without waiting for another actor,
hangs. A slow actor that takes steps does not: it is given another half. Where all wait for each other, all hang.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError, RayTaskError

from raysplit.engine.activity import Doing
from raysplit.engine.ray.deadlines import Deadlines
from raysplit.engine.ray.wire import PeerLost
from raysplit.training.failures import ClientFailure

HANG_UP_EVERY_S = 1.0
ANSWER_S = 10.0
"""How long an actor may take to say what it does, or that it is there."""


class Member(NamedTuple):
    """An actor of an engine and what sentences call it: ``host 1 (pid 12, node 10.0.0.1)``."""

    actor: Any
    name: str
    pid: int | None = None
    """Where that is known to be a process of this machine."""


class Call(NamedTuple):
    member: Member
    result: Any
    """Ray's reference to it."""


class Hung(Exception):
    """An actor that did not end a call within its deadline, and was killed. ``doing`` None: it did not answer."""

    def __init__(self, name: str, seconds: float, doing: Doing | None) -> None:
        super().__init__(name, seconds, doing)
        self.name, self.seconds, self.doing = name, seconds, doing

    def __str__(self) -> str:
        within = f"within its deadline of {self.seconds:.3g} s"
        if self.doing is None:
            return f"{self.name} did not answer {within}"
        if self.doing.waits:
            return f"{self.name} waited for the others {within}, and they for it"
        return f"{self.name} took no step {within}" + (f", at {self.doing.place}" if self.doing.place else "")


@dataclass
class _Look:
    """Who was found how when a batch of calls was last looked into."""

    half: float
    next: float
    seen: dict[str, Doing | None]
    halves: int = 0


class Calls:
    """Waits for the calls of one engine, counts them, and measures how long those of each kind take."""

    def __init__(self, deadlines: Deadlines) -> None:
        self.deadlines = deadlines
        self.count = 0

    def gather(
        self, kind: str, work: float, calls: Sequence[Call], on_loss: Callable[[], None] = lambda: None
    ) -> list[Any]:
        """Results in the order of the calls. A client's own exception outranks the broken wires that it causes.

        ``kind``, ``work``: what the deadline is taken from (``Deadlines.of``). ``on_loss``: called when a call has
        failed, and every ``HANG_UP_EVERY_S`` until the others have ended. Raises ``Hung`` for an actor that was killed.
        """
        self.count += len(calls)
        results: list[Any] = [None] * len(calls)
        failures: list[Exception] = []
        pending = {call.result: index for index, call in enumerate(calls)}
        began, deadline = time.monotonic(), self.deadlines.of(kind, work)
        look = _Look(deadline / 2, began + deadline / 2, {})
        while pending:
            patience = max(0.0, look.next - time.monotonic())
            done, _ = ray.wait(
                list(pending), num_returns=1, timeout=min(patience, HANG_UP_EVERY_S) if failures else patience
            )
            if not done and failures:
                on_loss()  # a host that called after the last hang-up still waits for an answer
            if not done and time.monotonic() >= look.next:
                members = {calls[index].member.name: calls[index].member for index in pending.values()}
                failures += _killed(list(members.values()), look)
            for call in done:
                index = pending.pop(call)
                failure = _take(call, results, index)
                if failure is not None:
                    failures.append(failure)
                    on_loss()
        if failures:
            raise min(failures, key=_urgency)
        self.deadlines.took(kind, work, time.monotonic() - began)
        return results


def _take(call: Any, results: list[Any], index: int) -> Exception | None:
    try:
        results[index] = ray.get(call)
    except RayTaskError as error:
        return error.cause if isinstance(error.cause, Exception) else error
    except RayError as error:
        return error
    return None


def _killed(members: list[Member], look: _Look) -> list[Exception]:
    """Kill who hangs since the last look, and note how the others are found."""
    first = not look.seen
    look.halves += 1
    now = ask(members, min(ANSWER_S, max(1.0, look.half)))
    hung = [] if first else [member for member in members if stuck(look.seen.get(member.name), now[member.name])]
    if not first and not hung and all(doing == look.seen.get(name) for name, doing in now.items()):
        hung = members  # each of them waits for another one
    for member in hung:
        _kill(member)
    look.seen, look.next = now, time.monotonic() + look.half
    return [Hung(member.name, look.halves * look.half, now[member.name]) for member in hung]


def _kill(member: Member) -> None:
    """A process that is stopped answers no request to exit; Ray ends it after some seconds, but here nobody waits."""
    ray.kill(member.actor, no_restart=True)
    if member.pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member.pid, signal.SIGKILL)


def stuck(before: Doing | None, now: Doing | None) -> bool:
    """Whether an actor hangs, by what it answered at two times (None: nothing)."""
    if before is None or now is None:
        return before is now
    return now.taken == before.taken and not now.waits


def ask(members: Sequence[Member], patience_s: float) -> dict[str, Doing | None]:
    """What actors do at the moment, by name; None: no answer within ``patience_s``, or none any more."""
    answers = {member.name: member.actor.doing.remote() for member in members}
    ray.wait(list(answers.values()), num_returns=len(answers), timeout=patience_s)
    doing: dict[str, Doing | None] = {}
    for name, answer in answers.items():
        try:
            doing[name] = ray.get(answer, timeout=0)
        except RayError:
            doing[name] = None
    return doing


def _urgency(error: Exception) -> int:
    if isinstance(error, ClientFailure):
        return 0
    if isinstance(error, Hung):
        return 1
    if isinstance(error, PeerLost):
        return 3
    return 2 if isinstance(error, RayError) and not isinstance(error, RayTaskError) else 0
