"""What privacy a run has spent: which clients trained how often, kept in the memory, and the ε of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from raysplit.defenses.privacy.accountant import Epsilon
from raysplit.defenses.privacy.ledger import Ledger
from raysplit.memory.memory import Memory, State
from raysplit.protocols.plan import RoundPlan
from raysplit.scenario.scenario import Scenario

PRIVACY = "fed/privacy"
"""``clients`` [m], ``samples`` [m], ``applications`` [m], int64: of every client that has trained."""


@dataclass(frozen=True)
class PrivacySpent:
    """After a round. ``clients``, ``applications`` [n]: of those that trained in it, all their rounds together;
    ``epsilons``: theirs. ``largest``: of all clients so far."""

    ledger: Ledger
    clients: np.ndarray
    applications: np.ndarray
    epsilons: list[Epsilon]
    largest: float

    @property
    def claimed(self) -> bool:
        return self.ledger.privacy.guarantee

    @property
    def words(self) -> str:
        """ε with all that it is an ε of."""
        ledger = self.ledger
        of = f"ε ≤ {self.largest:.3g}, δ {ledger.privacy.delta:g} for a sample, {ledger.sampling}"
        if not self.claimed:
            return f"no guarantee claimed (the noise alone: {of})"
        return f"{of}; covers {ledger.covered} against fed server, clients and who gets the model, not smashed data"


def ledger_of(scenario: Scenario) -> Ledger | None:
    """None: nothing is clipped, and nothing is counted."""
    privacy = scenario.privacy
    if privacy is None or not privacy.acts:
        return None
    return Ledger(privacy, scenario.training.batching, scenario.protocol.server != "none")


def spend(scenario: Scenario, plan: RoundPlan, memory: Memory) -> tuple[PrivacySpent | None, Memory]:
    """What the clients of a round will have spent after it, lost ones included, and how that is remembered."""
    ledger = ledger_of(scenario)
    if ledger is None:
        return None, {}
    kept: State = memory.get(PRIVACY, {})
    so_far = (
        {}
        if not kept
        else dict(
            zip(
                kept["clients"].tolist(),
                zip(kept["samples"].tolist(), kept["applications"].tolist(), strict=True),
                strict=True,
            )
        )
    )
    for client, samples, steps in zip(plan.clients.tolist(), plan.samples.tolist(), plan.steps.tolist(), strict=True):
        before = so_far.get(client, (samples, 0))[1]
        so_far[client] = samples, before + ledger.applications(samples, steps)
    own = [so_far[client] for client in plan.clients.tolist()]
    largest = max((ledger.epsilon(*one).epsilon for one in set(so_far.values())), default=0.0)
    spent = PrivacySpent(
        ledger,
        plan.clients,
        np.array([applications for _, applications in own], dtype=np.int64),
        [ledger.epsilon(*one) for one in own],
        largest,
    )
    clients = sorted(so_far)
    columns = {
        "clients": clients,
        "samples": [so_far[c][0] for c in clients],
        "applications": [so_far[c][1] for c in clients],
    }
    return spent, {PRIVACY: {name: torch.tensor(column, dtype=torch.int64) for name, column in columns.items()}}
