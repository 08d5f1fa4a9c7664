"""What a server does about slow clients. Decided before a round is trained, from virtual time alone, so it is the same
on every machine.

Clients are ranked by the time that each would need if it were alone in the round. Who is left out takes no part in the
round: it trains nothing, sends nothing, and is listed in ``times.arrow`` with the reason.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

import numpy as np

from raysplit.errors import ScenarioError
from raysplit.parts.contract import answer, contract
from raysplit.parts.part import part
from raysplit.protocols.requirements import Requirement, client_sync_is

Reports = Callable[[np.ndarray], float]
"""Cohort positions that take part → seconds until the last of them has reported"""


_UPDATES = client_sync_is(
    "averaging",
    otherwise="{component} leaves out clients whose updates come late, but {protocol} gathers no updates; use Wait()",
)


@contract("a straggler policy")
class StragglerPolicy:
    """The contract of straggler policies: a frozen part derives from it."""

    @answer
    def requires(self) -> tuple[Requirement, ...]:
        """By default that clients report updates, which can come late."""
        return (_UPDATES,)

    @abstractmethod
    def late(self, own_seconds: np.ndarray, last_report: Reports) -> np.ndarray:
        """Who misses the round: positions. ``own_seconds``: float64 [n], seconds that each client would need by itself."""

    def closes(self, last_report: float, missed: bool) -> float:
        """When the server stops waiting, in seconds from the round's start: by default with the last report."""
        return last_report


@part
class Wait(StragglerPolicy):
    """Everybody is waited for."""

    @property
    def requires(self) -> tuple[Requirement, ...]:
        return ()

    def late(self, own_seconds: np.ndarray, last_report: Reports) -> np.ndarray:
        return np.zeros(0, dtype=np.int64)


@part
class Deadline(StragglerPolicy):
    """The round closes ``seconds`` after its start if anybody is still missing (Bonawitz et al. 2019, section 2).

    As few as possible of the slowest are left out so that all others report in time. Where clients do not hinder each
    other these are exactly those who need longer than that; at a shared server portion a slow client holds up the
    others.
    """

    seconds: float

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise ScenarioError(f"Deadline.seconds must be above 0, but it is {self.seconds!r}")

    def late(self, own_seconds: np.ndarray, last_report: Reports) -> np.ndarray:
        slowest = _slowest_first(own_seconds)
        hopeless = int((own_seconds > self.seconds).sum())
        for count in range(hopeless, len(own_seconds)):
            if last_report(np.sort(slowest[count:])) <= self.seconds:
                return slowest[:count]
        return slowest

    def closes(self, last_report: float, missed: bool) -> float:
        return self.seconds if missed else last_report


@part
class Drop(StragglerPolicy):
    """The slowest share of every cohort, rounded down, is left out; the server knows them and does not wait for
    them."""

    slowest: float

    def __post_init__(self) -> None:
        if not 0 <= self.slowest < 1:
            raise ScenarioError(
                f"Drop.slowest is a share and must be at least 0 and below 1, but it is {self.slowest!r}"
            )

    def late(self, own_seconds: np.ndarray, last_report: Reports) -> np.ndarray:
        return _slowest_first(own_seconds)[: math.floor(self.slowest * len(own_seconds) + 1e-9)]


@part
class Buffer(StragglerPolicy):
    """The round closes when the ``first`` fastest have reported; what comes later is thrown away (over-selection,
    Bonawitz et al. 2019)."""

    first: int

    def __post_init__(self) -> None:
        if self.first < 1:
            raise ScenarioError(f"Buffer.first must be at least 1 report, but it is {self.first}")

    def late(self, own_seconds: np.ndarray, last_report: Reports) -> np.ndarray:
        return _slowest_first(own_seconds)[: max(0, len(own_seconds) - self.first)]

    @property
    def requires(self) -> tuple[Requirement, ...]:
        return (
            _UPDATES,
            Requirement(
                lambda setting: self.first <= setting.cohort.size,
                f"Buffer waits for {self.first} reports, but Cohort.size is {{setting.cohort.size}}; wait for fewer or "
                "draw more",
            ),
        )


def _slowest_first(single_client_times: np.ndarray) -> np.ndarray:
    """Positions; of equally slow ones the later in the cohort counts as slower."""
    return np.argsort(single_client_times, kind="stable")[::-1]
