"""Everything that a simulation carries from one round to the next; a checkpoint is this, written down."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch

from raysplit.memory.memory import Memory, of_clients, of_scope, portions_of, remembered


@dataclass(frozen=True)
class GlobalState:
    """After ``round`` rounds. ``client``, ``server``: the global portions, flat (server empty where nothing is cut).

    ``memory``: what clients, main server and fed server remember besides. Where clients keep portions of their own
    these are there, and ``client`` is the initial one, with which others begin.
    """

    round: int
    client: torch.Tensor
    server: torch.Tensor
    memory: Memory = field(default_factory=dict)

    @property
    def client_portions(self) -> dict[int, torch.Tensor]:
        """Client id → the portion of its own, [d_C]; empty where clients keep none."""
        return portions_of(self.memory)

    def for_round(self, clients: Iterable[int]) -> GlobalState:
        """What an engine needs of it to play a round of these clients: their memory and the main server's."""
        return replace(self, memory={**of_clients(self.memory, clients), **of_scope(self.memory, "server")})

    def remember(self, changes: Memory) -> GlobalState:
        """The same with ``changes`` in its memory."""
        return replace(self, memory=remembered(self.memory, changes))
