"""What a client's samples have been used for so far, and the ε to which it adds up.

With ``Training.poisson_rate`` a sample is in each batch with that probability: every step is an application at this
rate, and two data sets are neighbours where one has a sample more. Shuffled batches have no such amplification: a sample
is in one batch an epoch at most, so an epoch is one application at rate 1, and neighbours differ in whether a sample's
gradient counts; how many samples a client has is public.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from raysplit.defenses.privacy.accountant import Epsilon, epsilon
from raysplit.defenses.privacy.per_example_clipping import PerExampleClipping
from raysplit.protocols.batching import Batching


@dataclass(frozen=True)
class Ledger:
    """``split``: whether there is a server portion, which is clipped beside the client's or stays open."""

    privacy: PerExampleClipping
    batching: Batching
    split: bool

    @property
    def sampling(self) -> Literal["poisson", "shuffled"]:
        return "shuffled" if self.batching.rate is None else "poisson"

    @property
    def neighbours(self) -> str:
        return "one sample more or less" if self.sampling == "poisson" else "one sample's gradient zero, sizes public"

    unit = "sample"
    against = "fed server, clients and who gets the model, not smashed data"
    adversary = "fed server, other clients, who gets the model; not the main server"

    @property
    def delta(self) -> float:
        return self.privacy.delta

    @property
    def claimed(self) -> bool:
        return self.privacy.guarantee

    @property
    def budget(self) -> float | None:
        return self.privacy.budget

    @property
    def covered(self) -> str:
        """What the noise is on, in words."""
        server = self.split and self.privacy.server_portion == "clipped"
        return "updates, weights and the server portion" if server else "updates and weights"

    def applications(self, samples: int, steps: int) -> int:
        """Of the mechanism to one sample, in ``steps`` steps of a client with ``samples``."""
        return steps if self.sampling == "poisson" else -(-steps // self.batching.steps(samples))

    def multiplier(self, samples: int) -> float:
        """σ of one application. A sample is in two sums where the server portion is clipped too, each with noise of its
        own: together it moves them by √2 of what it moves one."""
        found = self.privacy.noise_multiplier
        if self.privacy.form == "thapa2022":
            found *= math.sqrt(min(self.batching.lengths(samples)))
        return found / math.sqrt(2) if self.split and self.privacy.server_portion == "clipped" else found

    def epsilon(self, samples: int, applications: int) -> Epsilon:
        """Of one sample of a client that has ``samples``, after so many applications."""
        rate = 1.0 if self.batching.rate is None else self.batching.rate
        return epsilon(rate, self.multiplier(samples), applications, self.privacy.delta)
