"""What is done about a round, or an evaluation, that lost an actor: it is played again, up to ``RETRIES`` times, unless
it would end the same way."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    ObjectStoreFullError,
    OutOfDiskError,
    OutOfMemoryError,
    RayActorError,
    WorkerCrashedError,
)

from raysplit.engine.ray.calls import Hung
from raysplit.engine.ray.wire import PeerLost
from raysplit.errors import ClusterError, RunError
from raysplit.training.failures import ClientMistake, Where

T = TypeVar("T")
RETRIES = 5
_LOST = (RayActorError, OutOfMemoryError, NodeDiedError, WorkerCrashedError, ObjectLostError, PeerLost, Hung)

log = logging.getLogger("raysplit")


def replayed(what: str, play: Callable[[], T], mend: Callable[[], None]) -> T:
    """``play()``; after an actor was lost or hung ``mend()``, which replaces it, and again.

    ``what``: of which sentences speak, ``round 3``. Raises ``ClientMistake`` where the same client hangs twice,
    ``RunError`` where anything else does so at the same place, ``ClusterError`` where actors are lost ``RETRIES`` + 1
    times, or the object store is full.
    """
    before: set[tuple[str, object]] = set()
    for attempt in range(RETRIES + 1):
        try:
            return play()
        except (ObjectStoreFullError, OutOfDiskError) as error:
            raise ClusterError(
                f"{what}: Ray's object store is full ({first_line(error)}); free memory in /dev/shm, or space on the "
                "disk of Ray's folder, to which it spills; the run can be resumed"
            ) from error
        except _LOST as error:
            if isinstance(error, Hung):
                _raise_if_again(what, error, before)
            if attempt == RETRIES:
                raise _given_up(what, error) from error
            log.warning("%s lost an actor and is played again: %s", what, first_line(error))
            mend()
    raise AssertionError("unreachable")


def _raise_if_again(what: str, hung: Hung, before: set[tuple[str, object]]) -> None:
    """Raise for who hangs as it did when this was played before; note how it hangs."""
    doing = hung.doing
    if doing is None:
        return
    actor = hung.name.split(" (")[0]
    how = (actor, doing.place) if doing.client is None else ("client", doing.client)
    if how not in before:
        before.add(how)
        return
    at = f", and was at {doing.place}" if doing.place else ""
    way_on = "mend that, or allow more time with --deadline; the run can be resumed"
    if doing.client is None or doing.waits:
        raise RunError(f"{what}: {hung}, twice; {way_on}") from hung
    party: Where = "main server" if actor.startswith("server") else "client"
    why = f"ended no step within the deadline of {hung.seconds:.3g} s, twice{at}; {way_on}"
    raise ClientMistake(doing.round, doing.client, why, "", hung.name, party) from hung


def _given_up(what: str, error: Exception) -> ClusterError:
    if isinstance(error, Hung):
        return ClusterError(
            f"{what}: {error}, {RETRIES + 1} times in a row; see to its node, or allow more time with --deadline; the "
            "run can be resumed"
        )
    return ClusterError(
        f"{what} lost an actor {RETRIES + 1} times in a row ({first_line(error)}); it probably needs more memory than "
        "its host has: use fewer hosts, a smaller batch or more shards"
    )


def first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
