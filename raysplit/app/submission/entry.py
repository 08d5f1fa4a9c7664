"""What a job runs on the cluster's head: the driver in a process of its own, started again when it is killed.

A driver that ends by itself has said why; one that a signal ended (the kernel's memory killer, an operator) has not,
and what it did up to its newest checkpoint is on disk, so another goes on from there: ``RESTARTS`` times at most, since
what kills a driver in the same place each time is not mended by trying. That Ray does not do: a job runs once.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raysplit.app.submission.installed import differences, installed, lacking
from raysplit.app.submission.log_lines import write
from raysplit.app.submission.order import FILE, FOLDER, Order

RESTARTS = 5
PAUSE_S = 2.0
"""Ray takes the actors of a driver that died away within that."""
USER_ERROR = 2

# Ray finds its own Python by the path that its raylet was started with; `python` in a shell may be another one.
ENTRYPOINT = (
    "RAYLET=$(sed -n 's/^PPid:[[:space:]]*//p' /proc/$PPID/status); "
    "FOUND=$(tr '\\0' '\\n' < /proc/$RAYLET/cmdline | sed -n 's/^--python_worker_command=\\([^ ]*\\) .*/\\1/p'); "
    'exec "${FOUND:-python}" '
)
"""The beginning of a shell command that runs the Python that Ray runs on that node: what follows are its arguments."""


def main() -> int:
    """Play the order in the working directory; the exit code is the driver's."""
    order = Order.from_json((Path(FOLDER) / FILE).read_text())
    there = installed()
    refusal = lacking(there)
    if refusal is not None:
        write({"event": "stopped", "sentence": refusal, "code": USER_ERROR})
        write({"event": "exit", "code": USER_ERROR})
        return USER_ERROR
    write({"event": "cluster", "job": order.job, "folder": str(order.folder), "versions": there})
    other = differences(order.versions, there)
    if other is not None:
        write({"event": "note", "sentence": other})
    code = kept_alive([sys.executable, "-m", "raysplit.app.submission.driver"], write, cwd=kept_code(order))
    write({"event": "exit", "code": code})
    return code


def kept_code(order: Order) -> Path:
    """What was uploaded, copied beside the runs. Ray's own copy is not to be relied on: where several of its nodes share
    a machine and a session folder, each unpacks it anew under the others' feet."""
    code, fresh = order.folder.parent / "code", order.folder.parent / ".code.part"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name in ("raysplit", FOLDER):
        shutil.copytree(name, fresh / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(code, ignore_errors=True)
    fresh.rename(code)
    return code


def kept_alive(
    command: list[str], tell: Callable[[dict[str, Any]], None], pause_s: float = PAUSE_S, cwd: Path | None = None
) -> int:
    """Run a command, again where a signal ended it, and return its exit code.

    Whoever stops the job sends SIGTERM to all of its processes: the command answers it, and this one waits for that.
    """
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.append(number))
    restarts = 0
    while True:
        code = subprocess.Popen(command, cwd=cwd).wait()
        if code >= 0 or stopping:
            return code if code >= 0 else 128 - code
        killed = signal.Signals(-code).name
        if restarts == RESTARTS:
            sentence = f"the driver was killed again and again, {RESTARTS + 1} times, last by {killed}; it may need"
            tell({"event": "stopped", "sentence": f"{sentence} more memory than the head has", "code": 128 - code})
            return 128 - code
        restarts += 1
        tell({"event": "restart", "killed": killed, "restart": restarts, "of": RESTARTS})
        time.sleep(pause_s)
        if stopping:
            return 128 + signal.SIGTERM


if __name__ == "__main__":
    sys.exit(main())
