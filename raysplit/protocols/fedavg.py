"""Federated averaging: McMahan et al. 2017, Algorithm 1."""

from __future__ import annotations

from raysplit.parts import part
from raysplit.protocols.protocol import ClientState, Meeting, Order, ServerPortion, ServerState


@part
class FedAvg:
    """Every client trains the whole model E local epochs from the round's weights; W ← Σ_k (n_k / n) W_k.

    The cut of the model is ignored: the client portion is everything, so robust rules and attacks act on all of it.
    """

    @property
    def meeting(self) -> Meeting:
        return "averaging"

    @property
    def server(self) -> ServerPortion:
        return "none"

    @property
    def u_shaped(self) -> bool:
        return False

    @property
    def order(self) -> Order:
        return "parallel"

    @property
    def client_state(self) -> ClientState:
        return "fresh"

    @property
    def server_state(self) -> ServerState:
        return "fresh"
