"""Federated averaging: McMahan et al. 2017, Algorithm 1."""

from __future__ import annotations

from typing import ClassVar

from raysplit.parts import part
from raysplit.protocols.protocol import ClientState, Meeting, Order, ServerPortion, ServerState


@part
class FedAvg:
    """Every client trains the whole model E local epochs from the round's weights; W ← Σ_k (n_k / n) W_k.

    The cut of the model is ignored: the client portion is everything, so robust rules and attacks act on all of it.
    """

    meeting: ClassVar[Meeting] = "averaging"
    server: ClassVar[ServerPortion] = "none"
    u_shaped: ClassVar[bool] = False
    order: ClassVar[Order] = "parallel"
    client_state: ClassVar[ClientState] = "fresh"
    server_state: ClassVar[ServerState] = "fresh"
