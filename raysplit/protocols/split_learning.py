"""Vanilla and U-shaped split learning with hand-over: Vepakomma et al. 2018; Khan et al. 2022, section 2.2."""

from __future__ import annotations

from typing import Literal

from raysplit.parts import part
from raysplit.protocols.protocol import ClientState, Meeting, Order, ServerPortion, ServerState


@part
class SplitLearning:
    """Clients train one after another; each begins with the client portion of the one before it.

    ``handover="central"``: through a store, up then down, 2·|W_C| a client (what Thapa et al.'s Table 2 charges);
    ``"peer_to_peer"``: directly to the next client, |W_C| a hop. Both give the same weights, with other traffic and exposure.
    ``ring``: ``"random"`` draws the order anew each round, ``"fixed"`` keeps the cohort's order (Khan et al.).
    The optimiser state of the client portion is fresh at each client unless ``Training(client_state="travels")``.
    """

    handover: Literal["central", "peer_to_peer"] = "central"
    ring: Literal["random", "fixed"] = "random"
    u_shaped: bool = False

    @property
    def meeting(self) -> Meeting:
        return "handover"

    @property
    def server(self) -> ServerPortion:
        return "shared"

    @property
    def order(self) -> Order:
        return "client_major"

    @property
    def client_state(self) -> ClientState:
        return "fresh"

    @property
    def server_state(self) -> ServerState:
        return "persistent"
