"""Clients that are sampled and never report."""

from __future__ import annotations

from typing import Literal

import numpy as np

from raysplit.errors import ScenarioError
from raysplit.parts.part import part
from raysplit.population.hashing import uniforms


@part
class Dropouts:
    """Each sampled client fails with probability ``share``; whether it does depends on (seed, round, client) alone.

    ``when="before"``: it fails before it trains, and nothing of it reaches anybody. ``when="after"``: it trains and its
    portion is lost on the way to the fed server. Under FedAvg and SplitFedV1 that is the same model for more work (a
    replica whose client is lost is lost with it); a shared server portion (SplitFedV2) has learned from it all the
    same. The others' weights are n_k over the samples of those that report.
    """

    share: float
    when: Literal["before", "after"] = "before"

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ScenarioError(
                f"Dropouts.share is a share and must be at least 0 and below 1, but it is {self.share!r}"
            )

    def fail(self, seed: int, round: int, clients: np.ndarray) -> np.ndarray:
        """Which of ``clients`` fail in a round: bool [n]."""
        return uniforms(seed, f"dropouts:{round}", clients) < self.share
