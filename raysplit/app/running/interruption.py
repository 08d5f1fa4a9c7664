"""A command that is stopped: by Ctrl-C, by a batch system, by a terminal that closes, or by a failure of the user's
code. What its user reads says how to go on, by the run folder's name."""

from __future__ import annotations

import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from raysplit.errors import RunError, UserError

if TYPE_CHECKING:  # the command line answers signals before it imports torch
    from raysplit.storage.run_folder import RunFolder

INTERRUPTED = 130
"""Exit code, as shells have it for a Ctrl-C."""


class Stopped(Exception):
    """The sentence that a command ends with, its exit code, and the traceback of the user's code, if that failed."""

    def __init__(self, sentence: str, code: int, trace: str = "") -> None:
        super().__init__(sentence)
        self.code, self.trace = code, trace


def answer_signals() -> None:
    """A SIGTERM, and a SIGHUP unless it is ignored (``nohup``), is a Ctrl-C: checkpoint, then leave."""
    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, interrupt)


def interrupt(number: int, frame: object) -> NoReturn:
    """A handler that makes a signal a Ctrl-C."""
    raise KeyboardInterrupt


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold interrupts off: whoever ends a job may tell it several times, and the checkpoint that the first one asks for
    is not to be broken off by the second. Those that come within the ``with`` are dropped."""
    if threading.current_thread() is not threading.main_thread():
        yield  # no handler runs in another thread
        return
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ends}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def saying_how_to_go_on(folders: Sequence[RunFolder], rest: str) -> Iterator[None]:
    """Raise ``Stopped`` for an interrupt, or a client's failure, of what plays the runs in ``folders`` one after
    another. ``rest``: what plays those that are left after the one that was stopped."""
    from raysplit.training.failures import ClientFailure

    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(f"interrupted{_way_on(folders, rest)}", INTERRUPTED) from None
    except ClientFailure as failure:
        stopped = _stopped(folders)
        if isinstance(failure, UserError) or stopped is None:
            raise
        again = f"'raysplit resume {_quoted(stopped)} --engine local'"
        raise Stopped(f"{failure}; {again} reproduces it in one process, under a debugger", 1, failure.trace) from None


@contextmanager
def saying_to_repeat(what: str) -> Iterator[None]:
    """Raise ``Stopped`` for an interrupt of what goes on when it is called again."""
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(f"interrupted; {what} again goes on from the last complete round", INTERRUPTED) from None


def _way_on(folders: Sequence[RunFolder], rest: str) -> str:
    stopped = _stopped(folders)
    if stopped is None:
        return " before training began; the same command starts anew"
    state = stopped.state()
    at = f" at round {state['rounds']} of {state['of']}" if {"rounds", "of"} <= state.keys() else ""
    way = f"{at}; 'raysplit resume {_quoted(stopped)}' goes on from there"
    left = len(folders) - 1 - list(folders).index(stopped)
    if left:
        way += f", and {rest} then plays the {left} scenario{'s' if left > 1 else ''} left"
    return way


def _stopped(folders: Sequence[RunFolder]) -> RunFolder | None:
    """The run that was under way, if one was: the first that exists and has not ended."""
    for folder in folders:
        try:
            if Path(folder.path).is_dir() and folder.state().get("status") not in ("finished", "diverged"):
                return folder
        except RunError:
            continue
    return None


def _quoted(folder: RunFolder) -> str:
    """A run folder as a shell takes it, inside a sentence's single quotes."""
    path = str(folder.path)
    return path if shlex.quote(path) == path else f'"{path}"'
