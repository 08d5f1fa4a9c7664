"""Prints the files of a folder on a cluster's head, in pieces, into its own log: the way in which runs come back.

Ray's dashboard lets nobody read files, but logs it streams to whoever has the token; so this goes to the head as
``python -c``, with the standard library alone, and needs no port, no shared disk and no RaySplit there. What it has
printed is wiped from the log once it was received (SIGTERM), or after ``IDLE_S``.
"""

import base64
import contextlib
import hashlib
import json
import os
import signal
import sys
import time
from types import FrameType

PIECE = 96 * 1024
IDLE_S = 600


def tell(event: str, **facts: object) -> None:
    sys.stdout.write("@raysplit " + json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


def files_under(root: str) -> list[tuple[str, int]]:
    """Paths relative to ``root``, and sizes, in one order; not links, nor what begins with a dot: locks, half-written
    files."""
    found = []
    for folder, inside, names in os.walk(root):
        inside[:] = [name for name in inside if not name.startswith(".")]
        for name in names:
            path = os.path.join(folder, name)
            if not name.startswith(".") and not os.path.islink(path) and os.path.isfile(path):
                found.append((os.path.relpath(path, root), os.path.getsize(path)))
    return sorted(found)


def sha256_of(path: str) -> str:
    state = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
    return state.hexdigest()


def list_all(root: str) -> None:
    for path, size in files_under(root):
        tell("file", path=path, size=size, sha256=sha256_of(os.path.join(root, path)))


def print_wanted(root: str, wanted: str, quota: int) -> None:
    """``wanted``: ``3@65536,4,7``, numbers of files in their order, the first perhaps from a byte on. Ends once so many
    bytes were printed."""
    there = files_under(root)
    for entry in wanted.split(","):
        number, _, start = entry.partition("@")
        path, size = there[int(number)]
        at = int(start or 0)
        with open(os.path.join(root, path), "rb") as file:
            file.seek(at)
            while at < size and quota > 0:
                piece = file.read(PIECE)
                if not piece:
                    break
                tell("piece", path=path, at=at, data=base64.b64encode(piece).decode())
                at += len(piece)
                quota -= len(piece)
        if quota <= 0:
            break


def wipe(number: int, frame: FrameType | None) -> None:
    """Empty the log that standard output goes to, and end."""
    with contextlib.suppress(OSError):
        os.ftruncate(1, 0)
    os._exit(0)


def main(root: str, wanted: str, quota: str) -> None:
    signal.signal(signal.SIGTERM, wipe)
    root = os.path.expanduser(root)
    if not os.path.isdir(root):
        tell("absent", folder=root, host=os.uname().nodename)
    elif wanted:
        print_wanted(root, wanted, int(quota))
    else:
        list_all(root)
    tell("all")
    time.sleep(IDLE_S)
    wipe(0, None)


if __name__ == "__main__":
    main(*sys.argv[1:])
