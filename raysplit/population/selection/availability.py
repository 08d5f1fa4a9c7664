"""When a client can be sampled at all: a daily rhythm, or a trace from a file. Part of the data, so it has a seed of
its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from raysplit.errors import PopulationError, ScenarioError
from raysplit.parts.part import part, within
from raysplit.population.arrow import ArrowFile
from raysplit.population.hashing import uniforms

Presence = Callable[[int], np.ndarray]
"""round (1-based) → bool [clients]: who can be sampled"""

COLUMNS = ("client", "start", "stop")


@runtime_checkable
class Availability(Protocol):
    """A frozen dataclass of plain values."""

    def presence(self, clients: int) -> Presence:
        """Open it for a population of ``clients``; raises ``PopulationError`` where it does not fit them."""
        ...


@part
class DayNight:
    """Each client is available for ``share`` of every ``period`` rounds, at a stretch, and unavailable for the rest.

    ``spread``: how much of the period the clients' mornings are spread over, by a uniform number a client from
    ``seed``: 1, around the globe, so that about ``share`` of them are there at any time; 0, one time zone, all there or
    all unavailable. Rounds in which nobody is there are passed over. (Bonawitz et al. 2019 see this daily rhythm in
    their fleet.)
    """

    period: int = 24
    share: float = 0.5
    spread: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        within("DayNight.period", self.period, 1)
        within("DayNight.share", self.share, 0, 1)
        within("DayNight.spread", self.spread, 0, 1)

    def presence(self, clients: int) -> Presence:
        # On a grid of 1/1024 round, so that the remainders below are exact.
        ticks = uniforms(self.seed, "day and night", np.arange(clients)) * (self.spread * self.period * 1024)
        mornings = np.floor(ticks) / 1024
        return lambda round: np.mod(round - 1 - mornings, self.period) < self.share * self.period


@part
class TraceFile:
    """Intervals from a file: client ``client`` (its id) is available in rounds ``start`` ≤ round < ``stop``, rounds
    counted from 1.

    ``path``: NAME.csv with these three columns and a header, or NAME.arrow (Arrow IPC file) with them as integers;
    clients that do not appear are never available. It may begin with ``$RAYSPLIT_DATA/``. ``period``: repeat the trace
    after that many rounds. ``sha256``: what the file's bytes must have; without it the scenario's hash names the path
    only. Raises ``PopulationError`` when opened and missing, unreadable, different from ``sha256`` or naming clients or
    rounds that cannot be.
    """

    path: str
    period: int | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        if self.period is not None:
            within("TraceFile.period", self.period, 1)
        if not self.path.endswith((".csv", ".arrow")):
            raise ScenarioError(f"TraceFile.path must end in .csv or .arrow, but it is {self.path!r}")

    def presence(self, clients: int) -> Presence:
        file = ArrowFile(self.path).file()
        client, start, stop = _intervals(file, self.sha256)
        if client.size and (client.min() < 0 or client.max() >= clients):
            wrong = client[(client < 0) | (client >= clients)][0]
            raise PopulationError(f"trace {str(file)!r} names client {wrong}, but clients are 0..{clients - 1}")
        last = np.iinfo(np.int64).max if self.period is None else self.period + 1
        bad = np.flatnonzero((start < 1) | (start >= stop) | (stop > last))
        if bad.size:
            row = int(bad[0])
            within_period = "" if self.period is None else f" ≤ period + 1 = {last}"
            raise PopulationError(
                f"trace {str(file)!r} has the rounds {start[row]}..{stop[row]} in row {row + 1}, not 1 ≤ start < "
                f"stop{within_period}"
            )

        def present(round: int) -> np.ndarray:
            now = round if self.period is None else (round - 1) % self.period + 1
            mask = np.zeros(clients, dtype=bool)
            mask[client[(start <= now) & (now < stop)]] = True
            return mask

        return present


def _intervals(file: Path, sha256: str | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from pyarrow.csv import read_csv

    if not file.is_file():
        raise PopulationError(f"there is no trace file {str(file)!r}; give one with the columns client, start, stop")
    data = file.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if sha256 is not None and found != sha256.lower():
        raise PopulationError(f"trace {str(file)!r} has the sha256 {found}, not {sha256} as the scenario says")
    try:
        table = read_csv(pa.BufferReader(data)) if file.suffix == ".csv" else pa.ipc.open_file(data).read_all()
        columns = [table.column(name) for name in COLUMNS]
        if any(not pa.types.is_integer(column.type) or column.null_count for column in columns):
            raise ValueError("client, start and stop must be whole numbers in every row")
        client, start, stop = (column.to_numpy().astype(np.int64) for column in columns)
    except (pa.ArrowException, ValueError, KeyError, OSError) as error:
        reason = " ".join(str(error).split())[:160].rstrip(".")
        raise PopulationError(f"trace {str(file)!r} cannot be read ({reason}); it needs client, start, stop") from error
    return client, start, stop
