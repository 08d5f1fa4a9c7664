"""What a poisoning of updates is: the malicious rows that reach the fed server instead of the honest ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import torch

from raysplit.channels import ThreatModel

if TYPE_CHECKING:
    from raysplit.defenses.aggregation.aggregation import AggregationRule


@dataclass(frozen=True)
class UpdateView:
    """What the adversary sees of a round, already cut down to what its threat model allows.

    ``benign``: the benign updates it can see, [n_seen, d] (full knowledge: every benign client of the cohort; partial
    knowledge: none, so [0, d]). ``own``: the honest updates of its own clients before poisoning, [m, d].
    ``n``: updates that the fed server will receive. ``rule``: the aggregation rule in place (Kerckhoffs).
    ``trim``: what that rule would cut from each side for this cohort, or None where the rule has no such count.
    ``round``: 1-based.
    """

    benign: torch.Tensor
    own: torch.Tensor
    n: int
    rule: AggregationRule
    trim: int | None
    round: int
    rng: np.random.Generator

    @property
    def m(self) -> int:
        """Malicious clients in this cohort."""
        return int(self.own.shape[0])


@dataclass(frozen=True)
class Poison:
    """``rows``: what the malicious clients send, [m, d], in cohort order; may be one row expanded (clones).

    ``record``: scalars for the attacks table (``gamma``, ``objective``, ``certificate`` …).
    """

    rows: torch.Tensor
    record: Mapping[str, float] = field(default_factory=dict)


@runtime_checkable
class UpdateAttack(Protocol):
    """A frozen dataclass; ``poison`` is pure: it changes none of its arguments and keeps nothing."""

    @property
    def threat_model(self) -> ThreatModel: ...

    @property
    def start_round(self) -> int:
        """First round (1-based) in which malicious clients lie."""
        ...

    def poison(self, view: UpdateView) -> Poison: ...


