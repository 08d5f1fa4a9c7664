"""Who waits for whom: from what a protocol carries over rounds to a round's cohort and plan, and back.

A synchronous protocol (the default) carries nothing and everything here leaves its round as it is.
"""

from __future__ import annotations

import numpy as np
import torch

from raysplit.optimizers import State
from raysplit.population.cohort import Drawn, draw
from raysplit.protocols import loss_drop
from raysplit.protocols.as_published import published
from raysplit.protocols.plan import Outcome, RoundPlan
from raysplit.protocols.protocol import TrainingProtocol, pace_of
from raysplit.scenario import Scenario

Carried = dict[str, torch.Tensor]


def draw_round(scenario: Scenario, round: int, ranks: np.ndarray, carried: Carried) -> Drawn:
    """Who takes part in a round."""
    return draw(scenario.cohort, scenario.seed, round, ranks)


def paced(scenario: Scenario, plan: RoundPlan, carried: Carried) -> RoundPlan:
    """The plan with what each client does of its work in this round."""
    if pace_of(scenario.protocol) == "loss_drop":
        return loss_drop.with_state(plan, carried)
    return plan


def parked_in(plan: RoundPlan, carried: Carried) -> tuple[dict[int, torch.Tensor], dict[int, State]]:
    """Portions and optimiser states by client id, of clients whose turn goes on."""
    return {}, {}


def arrived(plan: RoundPlan, drawn: Drawn, outcome: Outcome) -> tuple[RoundPlan, Drawn, Outcome]:
    """The round as the fed server sees it: with those clients alone whose portions have come."""
    return plan, drawn, outcome


def replicas_stay(protocol: TrainingProtocol) -> bool:
    """Whether server replicas outlive a round."""
    return protocol.server == "replicas" and published(protocol).replicas_meet == "all_collected"


def carry(scenario: Scenario, plan: RoundPlan, outcome: Outcome, carried: Carried) -> Carried:
    """What the next round must know."""
    if pace_of(scenario.protocol) == "loss_drop":
        return loss_drop.next_state(getattr(scenario.protocol, "threshold"), plan, outcome, carried)  # noqa: B009
    return outcome.carried
