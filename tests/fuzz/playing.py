"""One damaged input after another, in this process: what is neither read nor refused in one sentence, takes long, or
takes much memory, is a finding."""

from __future__ import annotations

import random
import resource
import signal
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from raysplit.errors import UserError
from tests.fuzz.files import Target, Whole, one_sentence

LIMIT_S = 10
MOST_BYTES = 512 << 20
"""By which the peak memory of this process may grow in one input."""


class Finding(NamedTuple):
    """``number``: with the seed, it plays the input again; ``where``: what findings are counted by."""

    target: str
    number: int
    where: str


@dataclass
class TooLong(BaseException):
    """Raised in whatever takes longer than ``LIMIT_S``; no reader catches it."""


def play(target: Target, seed: int, numbers: Iterator[int] | range) -> Iterator[Finding | None]:
    """Play inputs of a target; a finding, or None where all was well, for each."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as scratch:
        folder = Path(scratch)
        target.make(folder)
        whole = Whole(folder)
        for number in numbers:
            whole.restore()
            target.spoil(folder, random.Random(f"{target.name} {seed} {number}"))
            where = judged(target, folder)
            yield None if where is None else Finding(target.name, number, where)


def judged(target: Target, folder: Path) -> str | None:
    """What is wrong with how a reader took what lies in ``folder``; None: nothing."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    try:
        with alarm(LIMIT_S):
            target.read(folder)
    except UserError as refused:
        try:
            one_sentence(refused)
        except AssertionError as wrong:
            return str(wrong)
    except TooLong:
        return f"longer than {LIMIT_S} s"
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "raysplit/" in f.filename]
        at = frames[-1] if frames else traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {Path(at.filename).name}:{at.lineno} ({str(error)[:80]})"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    return f"{grown >> 20} MiB" if grown > MOST_BYTES else None


@contextmanager
def alarm(seconds: int) -> Iterator[None]:
    def late(number: int, frame: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
