"""A client block: K clients of a host whose local rounds run together.

The plan says how large blocks are. With K = 1, the only size that is played today, a block is one client and its steps
are the plain loop, the reference that every other way to play a block must equal up to the order of its sums. Stacked
blocks will hold the portions of their clients as one tensor [K, d] and their batches as [K, B, …]; clients with fewer
batches than others are then masked (``mask``), and the block size belongs into the scenario's hash, because kernels
choose their order of summation by shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class ClientBlock(NamedTuple):
    """The cohort ``positions`` of K clients, ascending."""

    positions: tuple[int, ...]

    def mask(self, steps: np.ndarray) -> np.ndarray:
        """Who takes part in which step: bool [K, T], T the most steps of any of them. ``steps``: int64 [n], of every
        client of the cohort."""
        taken = steps[list(self.positions)]
        return np.arange(int(taken.max(initial=0))) < taken[:, None]


def blocks_of(positions: Sequence[int], size: int) -> list[ClientBlock]:
    """A host's clients in blocks of ``size``, the last one smaller."""
    return [ClientBlock(tuple(positions[begin : begin + size])) for begin in range(0, len(positions), size)]
