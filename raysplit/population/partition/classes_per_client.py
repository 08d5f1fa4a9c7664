"""A fixed number of classes a client."""

from __future__ import annotations

import numpy as np

from raysplit import rng
from raysplit.errors import PopulationError
from raysplit.parts.part import part, within
from raysplit.population.partition.partitioner import Follows, even, hand_out
from raysplit.population.partition.pool import Pool


@part
class ClassesPerClient:
    """Each client has ``classes`` different classes; a class is dealt evenly, ±1, over the clients that have it.

    Li et al. 2022, NIID-Bench, "quantity-based label imbalance" (#C = k). Classes are given out from shuffled decks of
    all classes of the pool, one deck after another, so every class has as many clients as any other, ±1. A class with
    fewer samples than clients leaves some of them without it. Raises ``PopulationError`` where ``classes`` exceeds the
    classes of the pool, or where clients · ``classes`` is less: some class would have nobody.
    """

    classes: int

    def __post_init__(self) -> None:
        within("ClassesPerClient.classes", self.classes, 1)

    @property
    def follows(self) -> Follows:
        return "labels"

    def deal(self, pool: Pool, clients: int, seed: int) -> np.ndarray:
        present = np.flatnonzero(np.bincount(pool.labels, minlength=pool.classes))
        if self.classes > len(present):
            raise PopulationError(
                f"ClassesPerClient({self.classes}) asks for more classes than the {len(present)} of the pool"
            )
        if clients * self.classes < len(present):
            raise PopulationError(
                f"{clients} clients of {self.classes} classes hold at most {clients * self.classes} of the "
                f"{len(present)} classes of the pool, and every sample must have a client; ask for at least "
                f"{-(-len(present) // self.classes)} clients"
            )
        holders = self._holders(present, clients, rng.stream(seed, "partition decks"))
        owner = np.empty(pool.samples, dtype=np.int32)
        for c in present:
            stream = rng.stream(seed, "partition", int(c))
            class_holders = np.array(holders[int(c)])
            samples = np.flatnonzero(pool.labels == c)
            counts = np.zeros(clients, dtype=np.int64)
            counts[stream.permutation(class_holders)] = even(len(samples), len(class_holders))
            hand_out(samples, counts, owner, stream)
        return owner

    def _holders(self, present: np.ndarray, clients: int, stream: np.random.Generator) -> dict[int, list[int]]:
        """Class → the clients that have it."""
        holders: dict[int, list[int]] = {int(c): [] for c in present}
        deck: list[int] = []
        for client in range(clients):
            hand: list[int] = []
            while len(hand) < self.classes:
                if not deck:
                    deck = stream.permutation(present).tolist()
                # The end of one deck and the head of the next may hold the same class: take the first that is new.
                # There is one, since a hand is smaller than a deck.
                place = next(place for place, c in enumerate(deck) if c not in hand)
                hand.append(deck.pop(place))
            for c in hand:
                holders[c].append(client)
        return holders
