"""Client portions that never meet: each client keeps its own from round to round.

The driver holds them all, because hosts keep nothing between rounds: (clients that ever trained) × d_C floats, and as
much again while a checkpoint is written. For 3,550 writers and the FEMNIST network of Khan et al. that is 6 MB at cut
V1, 190 MB at V2, and 12 GB at V3.
"""

from __future__ import annotations

import torch

from raysplit.protocols.plan import Outcome, RoundPlan
from raysplit.simulation.state import GlobalState


def keep_portions(
    before: GlobalState, plan: RoundPlan, outcome: Outcome
) -> tuple[dict[int, torch.Tensor], torch.Tensor]:
    """All clients' portions after a round, by ascending id, and the mean update Σ_k (n_k / n) (W_k − W_k before),
    [d]."""
    portions = dict(before.client_portions)
    moved = torch.zeros_like(before.client)
    for position, client in enumerate(plan.clients.tolist()):
        # A copy: what came over Ray is a view that would hold the round's whole outcome in its store.
        portion = outcome.client_rows[position].to("cpu", copy=True)
        moved.add_(portion - portions.get(client, before.client), alpha=float(plan.weights[position]))
        portions[client] = portion
    return dict(sorted(portions.items())), moved
