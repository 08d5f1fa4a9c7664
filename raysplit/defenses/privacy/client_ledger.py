"""What a client's whole set has been used for so far under ``DpFedAvg``, and the ε to which it adds up.

With ``Poisson`` cohorts every client is in each round's with one probability, secretly and by itself: every round is an
application at this rate to everybody, whether or not anybody was drawn, and neighbours differ in one client more or less.
Other cohorts have no amplification here: who takes part counts as public, a round is one application at rate 1 to those
who do, and neighbours differ in whether what a client adds to the released sums counts (zero-out, Kairouz et al. 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from raysplit.aggregation.rules.dp_fedavg import DpFedAvg
from raysplit.defenses.privacy.accountant import Epsilon, epsilon


@dataclass(frozen=True)
class ClientLedger:
    """``rules``: of client portions and of server replicas, whichever are averaged. ``rate``: of Poisson cohorts."""

    rules: tuple[DpFedAvg, ...]
    rate: float | None

    unit = "client"
    against = "clients and who gets the model; trusts the fed server, not the main server"
    adversary = "other clients, who gets the model; not the fed server, not the main server"
    covered = "weights and the model"

    @property
    def delta(self) -> float:
        return self.rules[0].delta

    @property
    def claimed(self) -> bool:
        return all(rule.guarantee for rule in self.rules)

    @property
    def budget(self) -> float | None:
        return self.rules[0].budget

    @property
    def sampling(self) -> Literal["poisson cohorts", "cohorts as drawn"]:
        return "cohorts as drawn" if self.rate is None else "poisson cohorts"

    @property
    def neighbours(self) -> str:
        return "one client's contributions zero, cohorts public" if self.rate is None else "one client more or less"

    @property
    def multiplier(self) -> float:
        """Of one round: a client is in every released sum and count at once, each with noise of its own."""
        if any(rule.multiplier == 0 for rule in self.rules):
            return 0.0
        return float(sum(rule.multiplier**-2 for rule in self.rules) ** -0.5)

    def epsilon(self, rounds: int) -> Epsilon:
        """Of a client, after so many rounds that count for it."""
        return epsilon(1.0 if self.rate is None else self.rate, self.multiplier, rounds, self.delta)
