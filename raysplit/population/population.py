"""What a population is: virtual clients that each own a training set and a test set.

A *spec* (a frozen dataclass such as ``SyntheticWriters`` or ``ArrowFile``) is in the scenario, says which data is
meant and opens it; an open ``Population`` serves samples by client id without holding anything per client in memory.
Every host process opens its own: a memory map or a generator costs the same for 3,550 clients and for 1,000,000.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch

from raysplit.parts.contract import contract


class Samples(NamedTuple):
    """``x``: uint8 or float32 [n, C, H, W], as ``PopulationInfo.dtype`` says; ``y``: int64 class labels [n]."""

    x: torch.Tensor
    y: torch.Tensor


@dataclass(frozen=True)
class PopulationInfo:
    """What the record and the report say about a population.

    ``shape`` is a sample's [C, H, W]; ``digest`` names the data (two populations with equal digests give equal bytes);
    ``synthetic`` populations are announced as such in the log, the record and the report. ``dtype``: ``"uint8"``
    (bytes, of which the network sees what ``Scenario.pixels`` says) or ``"float32"`` (numbers that it sees as they
    are). ``unseen``: so many clients, the last ones, have no training samples and never take part: they are whom the
    model is evaluated on, and nobody else (LEAF's split by user).
    """

    name: str
    clients: int
    classes: int
    shape: tuple[int, int, int]
    synthetic: bool
    digest: str
    description: str = ""
    dtype: str = "uint8"
    unseen: int = 0

    @property
    def trainable(self) -> int:
        """How many clients can take part: the first ones."""
        return self.clients - self.unseen


class Population(Protocol):
    """An open population. ``clients`` arguments are int64 arrays of client ids in [0, info.clients)."""

    @property
    def info(self) -> PopulationInfo: ...

    def train_sizes(self, clients: np.ndarray) -> np.ndarray:
        """Training samples of each of ``clients``: int64 [len(clients)], without touching the samples."""
        ...

    def test_sizes(self, clients: np.ndarray) -> np.ndarray:
        """Test samples of each of ``clients``: int64 [len(clients)]."""
        ...

    def train(self, client: int) -> Samples:
        """The training set of one client."""
        ...

    def test(self, client: int) -> Samples:
        """The test set of one client."""
        ...


@contract("a population")
class PopulationSpec(ABC):
    """The contract of a scenario's description of a population: a frozen dataclass of plain values (``part``) derives
    from it and gives ``open``. What RaySplit opens it opens by ``open_population`` (``opening.py``), which holds an own
    one to what ``Population`` says."""

    @abstractmethod
    def open(self) -> Population:
        """Open it; raises ``PopulationError`` naming the command that would prepare missing data."""
