"""Populations that misbehave on cue, so that a test can strike in the middle of a round."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from raysplit.parts.part import part
from raysplit.population.population import Samples
from raysplit.simulation.simulation import RoundReport
from tests.toys import OpenToys, ToyClients

PATIENCE_S = 60


@part
class FaultyClients(ToyClients):
    """As ToyClients until ``folder`` holds ``armed``; then ``client`` fails, or halts once until ``folder`` holds
    ``go``, or never ends, however often it is tried."""

    folder: str = ""
    client: int = 0
    fault: Literal["raise", "halt", "endless"] = "halt"

    def open(self) -> FaultyToys:
        return FaultyToys(self)


class FaultyToys(OpenToys):
    spec: FaultyClients

    def train(self, client: int) -> Samples:
        folder = Path(self.spec.folder)
        if client == self.spec.client and (folder / "armed").exists():
            if self.spec.fault == "raise":
                raise ValueError("these samples are cursed")
            while self.spec.fault == "endless":
                time.sleep(0.05)
            if not (folder / "reached").exists():
                (folder / "reached").touch()
                deadline = time.monotonic() + PATIENCE_S
                while not (folder / "go").exists() and time.monotonic() < deadline:
                    time.sleep(0.02)
        return super().train(client)


def arm_after(folder: Path, round: int) -> Callable[[RoundReport], None]:
    """A watcher that arms the fault when ``round`` is over, so that the next one is struck."""

    def watch(report: RoundReport) -> None:
        if report.round == round:
            (folder / "armed").touch()

    return watch


class Assassin:
    """In a ``with``: waits until the client in question halts, kills a process, or stops it with SIGSTOP, and lets the
    client go on."""

    def __init__(self, folder: Path, pid: int, blow: signal.Signals = signal.SIGKILL) -> None:
        self._folder, self._pid, self._blow = folder, pid, blow
        self._thread = threading.Thread(target=self._strike, daemon=True)
        self.struck = False

    def _strike(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not (self._folder / "reached").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        if (self._folder / "reached").exists():
            os.kill(self._pid, self._blow)
            self.struck = True
        time.sleep(0.2)
        (self._folder / "go").touch()

    def __enter__(self) -> Assassin:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.join(PATIENCE_S)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False
