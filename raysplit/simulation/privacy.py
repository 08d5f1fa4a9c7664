"""What privacy a run has spent: which clients trained how often, kept in the memory, and the ε of each, for a sample or
for a client."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from raysplit.defenses.privacy.accountant import Epsilon
from raysplit.defenses.privacy.client_ledger import ClientLedger
from raysplit.defenses.privacy.ledger import Ledger
from raysplit.memory.memory import Memory, State
from raysplit.population.selection.draws import Poisson
from raysplit.protocols.plan import RoundPlan
from raysplit.scenario.client_privacy_check import private_rules
from raysplit.scenario.scenario import Scenario

PRIVACY = "fed/privacy"
"""``clients`` [m], ``samples`` [m], ``applications`` [m], int64: of every client that has trained."""


@dataclass(frozen=True)
class PrivacySpent:
    """After a round. ``clients``, ``applications`` [n]: of those that trained in it, all their rounds together;
    ``epsilons``: theirs. ``largest``: of all clients so far."""

    ledger: Ledger | ClientLedger
    clients: np.ndarray
    applications: np.ndarray
    epsilons: list[Epsilon]
    largest: float

    @property
    def claimed(self) -> bool:
        return self.ledger.claimed

    @property
    def words(self) -> str:
        """ε with all that it is an ε of."""
        ledger = self.ledger
        of = f"ε ≤ {self.largest:.3g}, δ {ledger.delta:g} for a {ledger.unit}, {ledger.sampling}"
        if not self.claimed:
            return f"no guarantee claimed (the noise alone: {of})"
        return f"{of}; covers {ledger.covered} against {ledger.against}"


def ledger_of(scenario: Scenario, population: int) -> Ledger | ClientLedger | None:
    """Of a ``population`` of so many clients that can take part. None: nothing is clipped, and nothing is counted."""
    rules = private_rules(scenario)
    if rules:
        draw = scenario.cohort.draw
        rate = None
        if isinstance(draw, Poisson):
            rate = scenario.cohort.size / population if draw.rate is None else draw.rate
        return ClientLedger(tuple(rules.values()), rate)
    privacy = scenario.privacy
    if privacy is None or not privacy.acts:
        return None
    return Ledger(privacy, scenario.training.batching, scenario.protocol.server != "none")


def spend(scenario: Scenario, plan: RoundPlan, memory: Memory, population: int) -> tuple[PrivacySpent | None, Memory]:
    """What the clients of a round will have spent after it, lost ones included, and how that is remembered."""
    ledger = ledger_of(scenario, population)
    if ledger is None:
        return None, {}
    if isinstance(ledger, ClientLedger) and ledger.rate is not None:
        found = ledger.epsilon(plan.round)
        counted = np.full(len(plan.clients), plan.round, dtype=np.int64)
        return PrivacySpent(ledger, plan.clients, counted, [found] * len(plan.clients), found.epsilon), {}

    def found_of(samples: int, applications: int) -> Epsilon:
        if isinstance(ledger, ClientLedger):
            return ledger.epsilon(applications)
        return ledger.epsilon(samples, applications)

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
        more = 1 if isinstance(ledger, ClientLedger) else ledger.applications(samples, steps)
        so_far[client] = samples, before + more
    own = [so_far[client] for client in plan.clients.tolist()]
    largest = max((found_of(*one).epsilon for one in set(so_far.values())), default=0.0)
    spent = PrivacySpent(
        ledger,
        plan.clients,
        np.array([applications for _, applications in own], dtype=np.int64),
        [found_of(*one) for one in own],
        largest,
    )
    clients = sorted(so_far)
    columns = {
        "clients": clients,
        "samples": [so_far[c][0] for c in clients],
        "applications": [so_far[c][1] for c in clients],
    }
    return spent, {PRIVACY: {name: torch.tensor(column, dtype=torch.int64) for name, column in columns.items()}}
