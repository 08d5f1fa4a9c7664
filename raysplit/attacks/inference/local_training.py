"""How a client trained between the portion that it was sent and the one that it sent back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LocalTraining:
    """``lr``: in the observed round. ``epochs``: local ones. ``batches``: of each observed update, how many samples its
    client had in each batch of an epoch. ``plain_sgd``: without momentum and weight decay. ``beside_server``: whether
    the client has a portion only, and the rest of the model learns at the main server at every step too."""

    lr: float
    epochs: int
    batches: tuple[tuple[int, ...], ...]
    plain_sgd: bool
    beside_server: bool

    def steps(self, update: int) -> int:
        """How many steps the client of an update took."""
        return self.epochs * len(self.batches[update])
