"""One column shard of the fed server: it takes in its columns of every portion, then poisons and aggregates them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from raysplit.columns import Asked
from raysplit.defenses.aggregation.order_statistics import weighted_sum
from raysplit.fed_server import Faced, face
from raysplit.sharding.conversation import Conversation, Done
from raysplit.sharding.sitting import Sitting


@dataclass(frozen=True)
class Met:
    """What the fed server made of a round's matrix: ``faced`` of the parameters, and the weighted mean change of the ``buffers``, [b]."""

    faced: Faced
    buffers: torch.Tensor


class ColumnShard:
    """Holds U[:, columns] of one round at a time, [n, width]; the room is kept for the next round."""

    def __init__(self) -> None:
        self._matrix = torch.empty(0, 0)
        self._row_of: dict[int, int] = {}
        self._conversation: Conversation | None = None

    def gather(self, sitting: Sitting) -> None:
        """Make room for a round's rows; what was under way is dropped."""
        self.end()
        self._sitting = sitting
        shape = (len(sitting.positions), len(sitting.portion))
        if self._matrix.shape != shape or self._matrix.dtype != sitting.portion.dtype:
            self._matrix = torch.empty(0, 0)  # give the old room back first
            self._matrix = torch.empty(shape, dtype=sitting.portion.dtype)
        self._row_of = {position: row for row, position in enumerate(sitting.positions)}
        self._missing = set(sitting.positions)

    @property
    def complete(self) -> bool:
        """Whether all rows are in."""
        return not self._missing

    def room(self, position: int) -> torch.Tensor:
        """Where a client's portion is to be written, [width]; ``filled`` once it is."""
        return self._matrix[self._row_of[position]]

    def filled(self, position: int) -> None:
        """A client's portion is in its room: from here on it is an update."""
        self.room(position).sub_(self._sitting.portion)
        self._missing.discard(position)

    def say(self, total: torch.Tensor | None) -> Asked | Done:
        """Go on with the meeting, see ``Conversation``; its result is a ``Met`` of these columns."""
        if self._conversation is None:
            self._conversation = Conversation(self._meet)
        return self._conversation.say(total)

    def end(self) -> None:
        """Drop a meeting that is under way."""
        if self._conversation is not None:
            self._conversation.end()
            self._conversation = None

    def _meet(self, exchange: Callable[[Asked], torch.Tensor]) -> Met:
        sitting = self._sitting
        context = replace(sitting.context, columns=replace(sitting.columns, exchange=exchange))
        updates, buffers = self._matrix[:, : sitting.parameters], self._matrix[:, sitting.parameters :]
        changed = weighted_sum(buffers, sitting.weights)
        return Met(face(sitting.rule, sitting.attack, updates, sitting.weights, sitting.malicious, context), changed)


class ShardsHere:
    """All shards in this process: what the local engine uses, and the reference for shards elsewhere."""

    def __init__(self, count: int) -> None:
        self._shards = [ColumnShard() for _ in range(count)]

    def gather(self, sitting: Sitting) -> None:
        self._sittings = sitting.cut(len(self._shards))
        for shard, mine in zip(self._shards, self._sittings, strict=True):
            shard.gather(mine)

    def put(self, position: int, portion: torch.Tensor) -> None:
        """Take a finished client's portion, [d], to pieces."""
        begin = 0
        for shard, sitting in zip(self._shards, self._sittings, strict=True):
            end = begin + len(sitting.portion)
            shard.room(position).copy_(portion[begin:end])
            shard.filled(position)
            begin = end

    def say(self, total: torch.Tensor | None) -> list[Asked | Done]:
        return [shard.say(total) for shard in self._shards]

    def end(self) -> None:
        for shard in self._shards:
            shard.end()


def joined(pieces: Sequence[Met]) -> Met:
    """One ``Met`` of all columns from those of the shards, in the order of their columns."""
    first = pieces[0].faced
    aggregates = [piece.faced.aggregate for piece in pieces]
    memory = {name: torch.cat([one.memory[name] for one in aggregates], dim=-1) for name in first.aggregate.memory}
    update = torch.cat([one.update for one in aggregates])
    row = {**first.row, "seconds": max(piece.faced.row["seconds"] for piece in pieces)}
    attack = first.attack
    if attack is not None:
        attack = {**attack, "seconds": max(piece.faced.attack["seconds"] for piece in pieces if piece.faced.attack)}
    faced = Faced(replace(first.aggregate, update=update, memory=memory), row, attack, first.update_norms)
    return Met(faced, torch.cat([piece.buffers for piece in pieces]))
