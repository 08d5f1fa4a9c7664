"""FLOPs of a round: each client's, the main server's, and those of averaging.

A forward pass costs what ``models.describe`` counts; a backward pass as much again for the weights' gradients and once
more for the inputs'. The network's first stage has no input gradient; a server portion has one, for it is sent back,
unless the head is frozen (``costs.portions``). Optimiser steps, losses, attacks and the extra work of robust rules are
not counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raysplit.costs.portions import CutCosts, cut_costs
from raysplit.costs.traffic import samples_seen
from raysplit.protocols.plan import RoundPlan
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.scenario.scenario import Scenario


@dataclass(frozen=True)
class RoundFlops:
    """``clients``: float64 [n], in cohort order; ``server``: the main server's steps; ``averaging`` at the fed server
    and ``server_averaging`` of replicas at the main server: a multiplication and an addition a float and portion.
    """

    clients: np.ndarray
    server: float
    averaging: float
    server_averaging: float


def round_flops(scenario: Scenario, plan: RoundPlan, costs: CutCosts | None = None) -> RoundFlops:
    """The FLOPs of the round that ``plan`` describes."""
    costs = costs or cut_costs(scenario)
    seen = samples_seen(scenario, plan).astype(np.float64)
    averaging = averaging_flops(len(plan.clients), costs.client_floats)
    replicas = averaging_flops(len(plan.clients), costs.body.floats)
    return RoundFlops(
        clients=seen * costs.client_step,
        server=float(seen.sum()) * costs.body.step * server_passes(scenario.protocol),
        averaging=averaging if scenario.protocol.client_sync == "averaging" else 0.0,
        server_averaging=replicas if scenario.protocol.server == "replicas" else 0.0,
    )


def server_passes(protocol: TrainingProtocol) -> int:
    """How often the server portion goes over each smashed sample: once, or ``server_epochs`` times before it takes the
    cut gradients."""
    return 1 + protocol.server_epochs if protocol.server_step == "server_first" else 1


def averaging_flops(portions: int, floats: int) -> float:
    """A weighted mean of ``portions`` vectors of ``floats``: 2 FLOPs a float and portion."""
    return 2.0 * portions * floats
