"""The tracebacks of scenarios that failed in a sweep: the experiment goes on without them, and one wants to know why."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

from raysplit.app.running.runner import Ended, Failed
from raysplit.storage.atomic import write_bytes

TRACES = "failed"
"""The folder in the sweep's own; a file ``SCENARIO.txt`` each."""


def with_trace_kept(ended: Ended | Failed, file: Path) -> Ended | Failed:
    """A job that has ended; where it failed and there is a traceback, that is in ``file``, which ``why`` then names.

    What an earlier try of the same scenario left there is gone otherwise.
    """
    if not isinstance(ended, Failed) or not ended.trace:
        file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # the last one; others may still be there, or there never was one
            file.parent.rmdir()
        return ended
    file.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(file, ended.trace.encode())
    return replace(ended, why=f"{ended.why} (traceback: {file})")
