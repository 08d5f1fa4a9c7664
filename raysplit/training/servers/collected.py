"""Server replicas that outlive a round: Thapa et al.'s published SplitFedV1 at partial participation.

Every client of the population has a replica of its own. It is averaged with the others, unweighted, when every client
has trained since the last time, be it in the middle of a round; a client that trained twice by then counts twice. Until
then each goes on from its own. With full participation that is once a round. The replicas of all clients seen since the
last average are kept: up to N·d_S floats.
"""

from __future__ import annotations

import numpy as np
import torch

from raysplit.memory.memory import State

_REPLICA, _SUM, _COUNT = "replica/", "sum", "count"


class CollectedReplicas:
    """``clients``: the cohort's ids; ``population``: how many clients there are; ``average``: the last average,
    [d_S]."""

    def __init__(self, clients: np.ndarray, population: int, average: torch.Tensor, kept: State) -> None:
        self._clients, self._population = clients, population
        self.average = average
        self._own = {
            int(name.removeprefix(_REPLICA)): vector for name, vector in kept.items() if name.startswith(_REPLICA)
        }
        self._sum = kept.get(_SUM)
        self._count = int(kept[_COUNT]) if _COUNT in kept else 0

    def of(self, position: int) -> torch.Tensor:
        """The replica of a client as it is now."""
        return self._own.get(int(self._clients[position]), self.average)

    def put(self, position: int, vector: torch.Tensor) -> None:
        """A client has trained its replica."""
        self._own[int(self._clients[position])] = vector.clone()
        self._sum = vector.clone() if self._sum is None else self._sum + vector
        self._count += 1
        if len(self._own) == self._population:
            self.average = self._sum / self._count
            self._own, self._sum, self._count = {}, None, 0

    def kept(self) -> State:
        """What the next round goes on from, beside the average."""
        if self._sum is None:
            return {}
        own = {f"{_REPLICA}{client}": vector.cpu() for client, vector in self._own.items()}
        return {**own, _SUM: self._sum.cpu(), _COUNT: torch.tensor(self._count)}
