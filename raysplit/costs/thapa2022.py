"""Thapa et al. 2022 (SplitFed), Table 2: what one global epoch costs in FL, SL, SFLV1 and SFLV2, as the paper writes
it.

Sizes are counted in floats, as the paper counts them; times 4 they are bytes of float32. Labels, the second cut of a
U-shape and the replicas that SFLV1's main server averages are not in the table. ``costs.traffic`` predicts what this
simulator counts, to the byte; ``tests/costs`` holds the two against each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from raysplit.errors import UserError

Number = float | Fraction
"""A ``Fraction`` stays exact, so that 2βK|W| can be compared with a count of bytes."""


@dataclass(frozen=True)
class Setting:
    """The table's symbols. K clients with equal shares of the data.

    ``p``: samples of all clients together (times the local epochs, where there are several); ``q``: floats a sample at
    the cut; ``beta``: the client's share of the model, |W_C| = β|W|; ``W``: floats of the whole model; ``K``: clients;
    ``R``: floats a second on a client's link; ``T``: seconds of one forward and backward pass of the full model over
    all p samples; ``T_fedavg``: seconds to average K full models. Raises ``UserError`` for impossible values.
    """

    p: int
    q: int
    beta: Number
    W: int
    K: int
    R: Number = math.inf
    T: float = 0.0
    T_fedavg: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.beta <= 1:
            raise UserError(f"beta is the client's share of the model and must lie in 0 … 1, but it is {self.beta!r}")
        if self.K < 1:
            raise UserError(f"K counts clients and must be at least 1, but it is {self.K}")
        if not self.R > 0:
            raise UserError(f"R is a rate in floats a second and must be above 0, but it is {self.R!r}")


@dataclass(frozen=True)
class Cost:
    """A row of Table 2: floats that one client sends and receives, floats of all of them, and seconds."""

    per_client: Number
    total: Number
    seconds: float


def fl(s: Setting) -> Cost:
    """Federated averaging: 2|W|; 2K|W|; T + 2|W|/R + T_fedavg."""
    return Cost(2 * s.W, 2 * s.K * s.W, s.T + float(2 * s.W / s.R) + s.T_fedavg)


def sl(s: Setting) -> Cost:
    """Split learning: (2p/K)q + 2β|W|; 2pq + 2βK|W|; T + 2pq/R + (2β|W|/R)·K. Clients come one after another, so
    nothing is divided by K."""
    per_client, total = _split(s)
    return Cost(per_client, total, s.T + float(2 * s.p * s.q / s.R) + float(2 * s.beta * s.W / s.R) * s.K)


def sflv1(s: Setting) -> Cost:
    """SplitFedV1: as SL; T + 2pq/(KR) + 2β|W|/R + T_fedavg. Both servers average, T_fedavg/2 each."""
    per_client, total = _split(s)
    return Cost(per_client, total, s.T + _parallel(s) + s.T_fedavg)


def sflv2(s: Setting) -> Cost:
    """SplitFedV2: as SL; T + 2pq/(KR) + 2β|W|/R + T_fedavg/2. Only the fed server averages."""
    per_client, total = _split(s)
    return Cost(per_client, total, s.T + _parallel(s) + s.T_fedavg / 2)


def second_cut(s: Setting, q2: int, in_turn: bool) -> Cost:
    """What a U-shape adds to any split row (not in the table): features and their gradients, ``q2`` floats a sample
    each.

    (2p/K)q₂; 2pq₂; 2pq₂/R where clients work ``in_turn`` (SL), else 2pq₂/(KR). A U-shape sends no labels.
    """
    total = 2 * s.p * q2
    return Cost(Fraction(total, s.K), total, float(total / s.R) / (1 if in_turn else s.K))


def break_even_clients(s: Setting) -> float:
    """K* = pq / (|W|(1 − β)): with more clients than this a split protocol moves fewer floats in total than FL.

    From 2K|W| = 2pq + 2βK|W|; infinite for β = 1.
    """
    saved = s.W * (1 - s.beta)
    return math.inf if saved == 0 else float(s.p * s.q / saved)


def _split(s: Setting) -> tuple[Number, Number]:
    return Fraction(2 * s.p * s.q, s.K) + 2 * s.beta * s.W, 2 * s.p * s.q + 2 * s.beta * s.K * s.W


def _parallel(s: Setting) -> float:
    return float(2 * s.p * s.q / (s.K * s.R)) + float(2 * s.beta * s.W / s.R)
