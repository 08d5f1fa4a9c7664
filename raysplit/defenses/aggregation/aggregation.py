"""What an aggregation rule is: a pure function from the received updates to one vector.

A rule never learns who is malicious. It may be told *how many* are, and then by whom: ``Knowledge.declared`` is what
the operator believes, ``Knowledge.realised`` is the oracle count of this very cohort (as the NDSS'21 code assumes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import torch


@dataclass(frozen=True)
class RoundContext:
    """What the fed server knows beside the updates.

    ``clients``: int64 [n] ids, rows in cohort order. ``declared``: malicious clients that the operator expects in a cohort of
    this size. ``realised``: the true number in this cohort (an oracle; only rules that ask for it may use it).
    """

    round: int
    clients: np.ndarray
    declared: int
    realised: int
    rng: np.random.Generator


@dataclass(frozen=True)
class Aggregate:
    """``update``: [d]. ``record``: scalars for the aggregation table (``trim``, ``broken`` …).

    ``selected``: bool [n], rows that took part, where the rule selects whole rows; else None.
    """

    update: torch.Tensor
    record: Mapping[str, float] = field(default_factory=dict)
    selected: torch.Tensor | None = None


@runtime_checkable
class AggregationRule(Protocol):
    """A frozen dataclass; ``aggregate`` changes none of its arguments."""

    @property
    def columnwise(self) -> bool:
        """Whether each coordinate is aggregated alone, so that column shards can be."""
        ...

    def aggregate(self, updates: torch.Tensor, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        """``updates``: [n, d], floating; ``weights``: [n], non-negative, summing to 1."""
        ...
