"""A Ray cluster that a run starts for itself: on the loopback interface alone, in a folder of its own, with this
process's answers to signals left as they were.

What Ray offers no argument for is done here: on Linux it listens on every interface, puts the working directory before
everything that is installed, and replaces the handler of SIGTERM.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ray._private import ray_constants, utils, worker
from ray.job_config import JobConfig

LOOPBACK = "127.0.0.1"
OTHER_NODES = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Ray's switch for clusters of many machines; without them it takes the loopback interface for the node's."""


class DriverPath(JobConfig):  # type: ignore[misc]  # Ray has no types
    """Workers look for modules where this process does, in the same order.

    Ray itself inserts the working directory before all else: a folder there that is called ``raysplit``, or like any
    other package, would hide what this process imported.
    """

    def _serialize(self) -> str:
        # Each is inserted at the front, so the last of them ends up first.
        self._py_driver_sys_path = [os.path.abspath(folder) for folder in reversed(sys.path)]
        text: str = super()._serialize()
        return text


@contextmanager
def on_loopback() -> Iterator[None]:
    """Ray processes that start within the ``with`` listen on the loopback interface alone."""
    before, constant = os.environ.get(OTHER_NODES), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[OTHER_NODES], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = constant
        if before is None:
            del os.environ[OTHER_NODES]
        else:
            os.environ[OTHER_NODES] = before


@contextmanager
def output_kept() -> Iterator[None]:
    """Within the ``with`` Ray prints nothing on this process's standard output.

    ``log_to_driver=False`` stops what workers print; that a worker died Ray prints all the same, amid the JSON lines that
    a program reads. Who was lost, and that the round is played again, is said by the engine, in the log.
    """
    before, worker._worker_logs_enabled = worker._worker_logs_enabled, False
    try:
        yield
    finally:
        worker._worker_logs_enabled = before


@contextmanager
def signals_kept() -> Iterator[None]:
    """Whatever answered a SIGTERM or SIGHUP before answers it after; one that comes within the ``with`` is answered
    at its end, when Ray stands and can be shut down.

    Ray's handler would exit from wherever it finds the process, and one that raises while Ray forks is ignored. Below
    Python Ray dumps the native stack at a SIGTERM; that handler is replaced at the end, too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Ray leaves the handlers alone in other threads, and so must we
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    came: list[int] = []
    for number, handler in before.items():
        if callable(handler):
            signal.signal(number, lambda number, frame: came.append(number))
    setter, utils.set_sigterm_handler = utils.set_sigterm_handler, lambda handler: None
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
    finally:
        utils.set_sigterm_handler = setter
        for number, handler in before.items():
            if handler is not None:  # None: it is none of Python's
                signal.signal(number, handler)
    for first in came[:1]:
        answer = before[signal.Signals(first)]
        if callable(answer):
            answer(first, None)  # a failure to start is of the signal's making, where it reached Ray's processes, too
    if failure is not None:
        raise failure
