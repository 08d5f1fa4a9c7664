"""Centralised training: one party holds the cohort's data and the whole model. The reference that the others are held to."""

from __future__ import annotations

from raysplit.parts import part
from raysplit.protocols.protocol import ClientState, Meeting, Order, ServerPortion, ServerState


@part
class Centralized:
    """The cohort's training sets are pooled, in cohort order, and trained as one set ("Normal" in Thapa et al., Table 5)."""

    @property
    def meeting(self) -> Meeting:
        return "one_party"

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
        return "per_client"

    @property
    def server_state(self) -> ServerState:
        return "fresh"
