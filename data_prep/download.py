"""Downloading a large public file over HTTP so that no failure costs what was already received.

The bytes gather in ``NAME.part`` (``partial.py``). A later attempt, in this process or the next, asks for the rest
(``Range``) on the condition that the file is still the same (``If-Range``). Only a complete and checked file gets its
name, by an atomic rename.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import requests
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from data_prep.partial import Remote, forget_remote, length_of, load_remote, locked, put, save_remote
from raysplit.errors import UserError

#: Bytes taken from the connection at a time: the most that a broken connection costs.
CHUNK = 1 << 14
LONGEST_WAIT_S = 120.0
#: Answers that may be better in a moment.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
ELSEWHERE = "name another source with --mirror"


class DownloadError(UserError):
    """A file that could not be fetched."""


@dataclass(frozen=True)
class Patience:
    """How many attempts in a row may bring nothing new, and how long to wait: ``first_wait_s``, twice that, ..."""

    attempts: int = 6
    first_wait_s: float = 1.0
    timeout_s: float = 30.0
    sleep: Callable[[float], None] = time.sleep


def download(
    url: str,
    dest: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    starts_with: bytes = b"",
    mirror: str | None = None,
    patience: Patience | None = None,
    console: Console | None = None,
) -> Path:
    """Fetch ``url`` to ``dest`` and return ``dest``; a finished ``dest`` is kept and not fetched again.

    ``sha256`` and ``md5`` (hexadecimal) are checked when given, and ``starts_with`` are the first bytes that every such
    file has (``b"PK"`` for a zip). ``mirror`` is the URL of a folder with a file called as ``dest`` to fetch instead. A
    bar is drawn when ``console`` (default: standard error) is a terminal. Raises ``DownloadError``; what was received
    stays.
    """
    if mirror:
        url = f"{mirror.rstrip('/')}/{dest.name}"
    part = dest.with_name(dest.name + ".part")
    try:
        if dest.exists():
            if wrong := _wrong_sum(dest, sha256, md5):
                raise DownloadError(f"{str(dest)!r} {wrong}: delete it to fetch it again")
            return dest
        dest.parent.mkdir(parents=True, exist_ok=True)
        with locked(part) as out:
            with _bar(console or Console(stderr=True), dest.name) as transfer:
                _fetch(_Source(url, starts_with, patience or Patience()), part, out, transfer)
            os.fsync(out.fileno())
            if wrong := _wrong_sum(part, sha256, md5):
                aside = dest.with_name(dest.name + ".wrong")
                os.replace(part, aside)
                forget_remote(part)
                raise DownloadError(f"{url} {wrong}: it was set aside as {str(aside)!r}; try again, or {ELSEWHERE}")
            os.replace(part, dest)
            forget_remote(part)
    except BlockingIOError as error:
        raise DownloadError(f"another process is downloading {str(dest)!r}: let it finish, or stop it") from error
    except OSError as error:
        what = "the disk is full" if error.errno in FULL else (error.strerror or str(error))
        kept = f"; the {part.stat().st_size:,} bytes received so far are kept" if part.is_file() else ""
        raise DownloadError(f"{url} cannot be written to {str(dest.parent)!r}: {what}{kept}") from error
    return dest


@dataclass(frozen=True)
class _Source:
    url: str
    starts_with: bytes
    patience: Patience


@dataclass(frozen=True)
class _Transfer:
    """Where the user sees what happens."""

    show: Callable[[int, int | None], None]
    say: Callable[[str], None]


class _Passing(Exception):
    """A failure that may be gone in a moment; ``wait_s`` is what the server asked for."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def _fetch(source: _Source, part: Path, out: BinaryIO, transfer: _Transfer) -> None:
    """Attempt after attempt until ``out`` is complete; an attempt that brought bytes starts the count anew."""
    url, patience = source.url, source.patience
    failures, ask_for_rest = 0, True
    while True:
        before = length_of(out)
        try:
            if _attempt(source, part, out, transfer, ask_for_rest):
                return
            # The server has no such rest: ask for all of it, and compare with what we have.
            ask_for_rest = False
            continue
        except requests.exceptions.SSLError as error:
            raise DownloadError(f"{url} shows no certificate that this machine trusts: {ELSEWHERE}") from error
        except (
            _Passing,
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            have, ask_for_rest = length_of(out), True
            failures = 1 if have > before else failures + 1
            if failures >= patience.attempts:
                kept = f" (the {have:,} bytes received so far are kept)" if have else ""
                raise DownloadError(
                    f"{url} could not be fetched: {_reason(error)}, {failures} times in a row; try again later{kept}, "
                    f"or {ELSEWHERE}"
                ) from error
            requested_wait_s = error.wait_s if isinstance(error, _Passing) else 0.0
            wait = min(max(requested_wait_s, patience.first_wait_s * 2 ** (failures - 1)), LONGEST_WAIT_S)
            transfer.say(f"{url}: {_reason(error)}; trying again in {wait:.0f} s")
            patience.sleep(wait)
        except requests.RequestException as error:
            raise DownloadError(f"{url} cannot be fetched: {_reason(error)}") from error


def _attempt(source: _Source, part: Path, out: BinaryIO, transfer: _Transfer, ask_for_rest: bool) -> bool:
    """One request. True when ``out`` is complete, False when the server has no such rest."""
    have, known = length_of(out), load_remote(part)
    # A compressed transfer would make lengths and ranges mean something else.
    headers = {"Accept-Encoding": "identity"}
    if have and ask_for_rest:
        headers["Range"] = f"bytes={have}-"
        if known.condition:
            headers["If-Range"] = known.condition
    with requests.get(source.url, headers=headers, stream=True, timeout=source.patience.timeout_s) as answer:
        if answer.status_code == 416 and "Range" in headers:
            # There is no more: either we have all of it, or what we have is not of this file.
            whole = answer.headers.get("Content-Range", "").strip() == f"bytes */{have}"
            return whole and Remote(have, answer.headers.get("ETag", "")).is_certainly(known)
        _refuse_failures(source.url, answer)
        rest = answer.status_code == 206
        remote = Remote.of(answer.headers, partial=rest)
        position = have if rest else 0
        if rest and not (
            "Range" in headers
            and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            and remote.is_certainly(known)
        ):
            return False
        chunks = answer.iter_content(CHUNK)
        first = next(chunks, b"")
        if not rest:
            _refuse_pages(source, answer, first)
        _refuse_full_disk(source.url, part, remote.length, have)
        if not rest and remote.is_another_than(known):
            out.truncate(0)
        noted = False
        for chunk in chain([first], chunks):
            position = put(out, position, chunk)
            # Not before all that we had is compared: a kill in between must not give our old bytes the new name.
            if not noted and position >= have:
                save_remote(part, remote)
                noted = True
            transfer.show(position, remote.length)
    if remote.length is not None and position != remote.length:
        raise _Passing(f"the server promised {remote.length:,} bytes and sent {position:,}")
    out.truncate(position)
    return True


def _refuse_failures(url: str, answer: requests.Response) -> None:
    status, words = answer.status_code, f"{answer.status_code} {answer.reason}".strip()
    if status in PASSING:
        raise _Passing(f"the server answered {words}", _retry_after(answer.headers.get("Retry-After", "")))
    if status not in (200, 206):
        raise DownloadError(f"{url} answered {words}: check the address, or {ELSEWHERE}")
    if (encoding := answer.headers.get("Content-Encoding", "identity")) != "identity":
        raise DownloadError(f"{url} came re-encoded as {encoding!r}, which cannot be resumed or checked: {ELSEWHERE}")


def _refuse_pages(source: _Source, answer: requests.Response, first: bytes) -> None:
    kind = answer.headers.get("Content-Type", "").split(";")[0].strip().lower()
    begins = first[:512].lstrip().lower()
    if kind in ("text/html", "application/xhtml+xml") or begins.startswith((b"<!doctype html", b"<html")):
        raise DownloadError(
            f"{source.url} answered with a web page instead of the file: see in a browser what it wants, or {ELSEWHERE}"
        )
    if not first.startswith(source.starts_with):
        raise DownloadError(
            f"{source.url} is not the kind of file expected, for it begins with {first[:8]!r} instead of "
            f"{source.starts_with!r}: check the address, or {ELSEWHERE}"
        )


def _refuse_full_disk(url: str, part: Path, length: int | None, have: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if length is not None and length - have > free:
        raise DownloadError(
            f"{url} needs {length - have:,} more bytes in {str(part.parent)!r}, which has {free:,} left: make room, or "
            "choose another folder"
        )


def _retry_after(value: str) -> float:
    """Seconds that the server asked us to wait, given as a number or a date; 0 when it did not, or not legibly."""
    if value.strip().isdecimal():
        return float(value.strip()[:9])
    try:
        when = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return 0.0
    when = when if when.tzinfo else when.replace(tzinfo=timezone.utc)
    return max(0.0, (when - datetime.now(timezone.utc)).total_seconds())


def _reason(error: Exception) -> str:
    """The error in a few words; what requests says of a connection is a paragraph of wrapped exceptions."""
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.ConnectionError):
        return "there is no connection to the server"
    return " ".join(str(error).split())[:160].rstrip(".")


def _wrong_sum(file: Path, sha256: str | None, md5: str | None) -> str:
    """Empty when the file's sums are as expected or nothing is expected, else what is wrong."""
    for kind, expected in (("sha256", sha256), ("md5", md5)):
        if expected is None:
            continue
        # md5 is what torchvision and the data sets' pages publish; it finds damage, not a forger.
        digest = hashlib.new(kind, usedforsecurity=False)
        with open(file, "rb") as handle:
            while chunk := handle.read(1 << 20):
                digest.update(chunk)
        if (found := digest.hexdigest()) != expected.lower():
            return f"has the {kind} {found[:16]}... instead of {expected.lower()[:16]}..."
    return ""


@contextmanager
def _bar(console: Console, name: str) -> Iterator[_Transfer]:
    """A progress bar on a terminal; on anything else only the words."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=None)
        yield _Transfer(
            show=lambda done, total: progress.update(task, completed=done, total=total),
            say=lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True),
        )
