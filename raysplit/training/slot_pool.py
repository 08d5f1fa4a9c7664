"""Many clients, few model slots: which client holds which slot, and what clients leave behind when they are done.

A host keeps as many copies of the client portion as it has steps under way, not one a client. A client that must wait
for its next step while others need the slot is swapped out: its flat vector and optimiser state are kept and put back,
bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import torch

from raysplit.memory.memory import State
from raysplit.training.parties import ModelSlot

S = TypeVar("S", bound=ModelSlot)
Start = Callable[[int], tuple[torch.Tensor, State | None]]
RowSink = Callable[[int, torch.Tensor], None]
"""Takes a finished client's position and portion, [d], and has sent or copied it when it returns."""


class SlotPool(Generic[S]):
    """``start(position)`` gives the portion and state with which a client begins; ``lr`` holds for all of them."""

    def __init__(self, slots: list[S], start: Start, lr: float) -> None:
        self._free = list(reversed(slots))
        self._occupied: dict[int, S] = {}  # insertion order = least recently used first
        self._in_flight: dict[int, tuple[torch.Tensor, State]] = {}
        self._start = start
        self._lr = lr

    def acquire(self, position: int, busy: Callable[[int], bool] = lambda position: False) -> S:
        """The slot of a client, acquired now if need be from the longest idle other one; ``busy`` ones keep theirs."""
        if position in self._occupied:
            slot = self._occupied[position] = self._occupied.pop(position)
            return slot
        if self._free:
            slot = self._free.pop()
        else:
            idle = next(other for other in self._occupied if not busy(other))
            slot = self._occupied.pop(idle)
            self._in_flight[idle] = (slot.flat.vector.clone(), slot.state())
        vector, state = self._in_flight.pop(position) if position in self._in_flight else self._start(position)
        slot.enter(vector, state, self._lr)
        self._occupied[position] = slot
        return slot

    def release(self, position: int) -> S:
        """Free a client's slot; what it holds stays valid until the next ``acquire``."""
        slot = self._occupied.pop(position)
        self._free.append(slot)
        return slot


class Gathering:
    """What finished clients leave behind: one weighted partial sum a client group, or every portion as a row, kept here
    or sent ``row_sink``.

    Sums are taken within a group in the plan's order, never in order of arrival: that is what makes a mean the same
    bits on any number of hosts. A client that finishes before those ahead of it in that order waits here.
    """

    def __init__(
        self, orders: dict[int, list[int]], weights: torch.Tensor, rows: bool, row_sink: RowSink | None = None
    ) -> None:
        """``orders``: group → the positions of its clients in summing order; ``weights``: float64 [cohort]."""
        self._group = {position: group for group, order in orders.items() for position in order}
        self._queue = {group: list(reversed(order)) for group, order in orders.items()}
        self._waiting: dict[int, torch.Tensor] = {}
        self._weights = weights
        self._rows = rows
        self._row_sink = row_sink
        self.sums: dict[int, torch.Tensor] = {}
        self.rows: dict[int, torch.Tensor] = {}

    def put(self, position: int, vector: torch.Tensor) -> None:
        """Take a finished client's portion, [d]; it is copied or summed before this returns."""
        if self._row_sink is not None:
            self._row_sink(position, vector)
            return
        if self._rows:
            self.rows[position] = vector.clone()
            return
        group = self._group[position]
        queue = self._queue[group]
        if queue[-1] != position:
            self._waiting[position] = vector.clone()
            return
        self._sum(group, vector)
        while queue and queue[-1] in self._waiting:
            self._sum(group, self._waiting.pop(queue[-1]))

    def _sum(self, group: int, vector: torch.Tensor) -> None:
        weight = float(self._weights[self._queue[group].pop()])
        if group in self.sums:
            self.sums[group].add_(vector, alpha=weight)
        else:
            self.sums[group] = vector * weight
