"""Client portions that are never averaged: each client keeps its own from round to round.

The driver holds them all, because hosts keep nothing between rounds: (clients that ever trained) × d_C floats, and as
much again while a checkpoint is written. For 3,550 writers and the FEMNIST network of Khan et al. that is 6 MB at cut
V1, 190 MB at V2, and 12 GB at V3.
"""

from __future__ import annotations

import torch

from raysplit.memory.global_state import GlobalState
from raysplit.memory.memory import PORTION, Memory, client_path
from raysplit.protocols.outcome import Outcome
from raysplit.protocols.plan import RoundPlan


def keep_portions(before: GlobalState, plan: RoundPlan, outcome: Outcome) -> tuple[Memory, torch.Tensor]:
    """What the cohort's clients keep after a round, and the mean update Σ_k (n_k / n) (W_k − W_k before),
    [d]."""
    portions = before.client_portions
    changes: Memory = {}
    moved = torch.zeros_like(before.client)
    for position, client in enumerate(plan.clients.tolist()):
        # A copy: what came over Ray is a view that would hold the round's whole outcome in its store.
        portion = outcome.client_rows[position].to("cpu", copy=True)
        moved.add_(portion - portions.get(client, before.client), alpha=float(plan.weights[position]))
        changes[client_path(client, PORTION)] = {"portion": portion}
    return changes, moved
