"""No client with less than its least: a bounded number of moves from the largest clients to the smallest."""

from __future__ import annotations

import heapq

import numpy as np

from raysplit.errors import PopulationError


def fill(owner: np.ndarray, clients: int, at_least: int, stream: np.random.Generator) -> int:
    """Change ``owner``, [samples], in place until every client has ``at_least`` samples; returns how many were moved.

    Clients that lack samples are served in order of id; each missing sample is a random one of the client that is
    largest just then (of equals the first). Exactly as many samples move as were missing: a giver never falls below
    ``at_least``, since the largest is above it as long as somebody is below. Raises ``PopulationError`` where there are
    not enough samples.
    """
    if len(owner) < clients * at_least:
        raise PopulationError(
            f"{len(owner)} training samples are not enough for {clients} clients of at least {at_least}; "
            f"ask for at most {len(owner) // at_least} clients"
        )
    sizes = np.bincount(owner, minlength=clients)
    poor = np.flatnonzero(sizes < at_least)
    givers = [(-int(sizes[client]), int(client)) for client in np.flatnonzero(sizes > at_least)]
    heapq.heapify(givers)
    order = np.argsort(owner, kind="stable") if len(poor) else np.zeros(0, dtype=np.int64)
    stops = np.cumsum(sizes)
    stacks: dict[int, list[int]] = {}
    moved = 0
    for client in poor.tolist():
        for _ in range(at_least - int(sizes[client])):
            size, giver = givers[0]
            if giver not in stacks:
                own_samples = order[stops[giver] - sizes[giver] : stops[giver]]
                stacks[giver] = stream.permutation(own_samples).tolist()
            owner[stacks[giver].pop()] = client
            heapq.heapreplace(givers, (size + 1, giver))
            moved += 1
    return moved
