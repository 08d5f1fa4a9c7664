"""What the authors' published code does differently from their papers, as answers that a protocol may give.

reference/split-learning.md section 2; docs/as-published.md is the table. Every answer is read where it matters and
nowhere is a name asked for, so that a user's own protocol may give any of them by a property ``published``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Weighting = Literal["samples", "uniform", "last_aliased"]
"""Of client portions: n_k / n; 1 / K; or SLPerf's mean, whose accumulator is the last sender's own portion."""
Tested = Literal["global", "in_training"]
"""The global model after the round; or each client of the cohort on its own test set as soon as it has trained, with
the client portion with which it began and the server portion as it then is."""
ReplicasMeet = Literal["each_round", "all_collected"]
"""Server replicas are averaged after every round; or once every client of the population has trained since the last
time."""
ClientLearns = Literal["always", "until_handed_over"]
"""A client's optimiser follows the portion that it is handed; or keeps stepping on the one that it no longer uses."""


@dataclass(frozen=True)
class Published:
    """``server_state``: the server optimiser's state, where it is made anew for every batch; None: as the protocol has
    it."""

    weighting: Weighting = "samples"
    tested: Tested = "global"
    replicas_meet: ReplicasMeet = "each_round"
    client_learns: ClientLearns = "always"
    server_state: Literal["each_batch"] | None = None


AS_WRITTEN = Published()
THAPA2022 = Published("uniform", "in_training", "all_collected", server_state="each_batch")
"""chandra2thapa/SplitFed-When-Federated-Learning-Meets-Split-Learning."""
SLPERF_SPLITFED = Published(weighting="last_aliased")
SLPERF_VANILLA = Published(client_learns="until_handed_over")
"""Rainysponge/SLPerf, variants SplitFed and vanilla."""


def portion_weights(weighting: Weighting, samples: np.ndarray, last: int) -> np.ndarray:
    """The weights with which client portions are summed: float64 [n]. ``last``: the position of the client that sends
    last.

    ``last_aliased``: the accumulator of Σ p_k W_k is the last sender's tensor, which the first addition overwrites, so
    the last addition adds p_K of the sum so far: W = (1 + p_K) Σ_{k<K} p_k W_k. The mean of (1, 2, 3) comes out as
    1.333, that of (5, 5, 5) as 4.44.
    """
    shares: np.ndarray = samples / samples.sum()
    if weighting == "uniform":
        return np.full(len(samples), 1 / len(samples))
    if weighting == "last_aliased" and len(samples) > 1:
        shares = shares * (1 + shares[last])
        shares[last] = 0.0
    return shares
