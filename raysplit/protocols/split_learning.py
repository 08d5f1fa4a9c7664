"""Vanilla and U-shaped split learning with hand-over: Vepakomma et al. 2018; Khan et al. 2022, section 2.2."""

from __future__ import annotations

from typing import ClassVar, Literal

from raysplit.parts import part
from raysplit.protocols.as_published import AS_WRITTEN, SLPERF_VANILLA, THAPA2022, Published
from raysplit.protocols.protocol import ClientState, Meeting, Order, ServerPortion, ServerState


@part
class SplitLearning:
    """Clients train one after another; each begins with the client portion of the one before it.

    ``handover="central"``: through a store, up then down, 2·|W_C| a client (what Thapa et al.'s Table 2 charges);
    ``"peer_to_peer"``: directly to the next client, |W_C| a hop. Both give the same weights, with other traffic and exposure.
    ``ring``: ``"random"`` draws the order anew each round, ``"fixed"`` keeps the cohort's order (Khan et al.).
    ``as_published``: as the code of ``"thapa2022"`` or of ``"slperf"`` (vanilla) does it, docs/as-published.md.
    The optimiser state of the client portion is fresh at each client unless ``Training(client_state="travels")``.
    """

    handover: Literal["central", "peer_to_peer"] = "central"
    ring: Literal["random", "fixed"] = "random"
    u_shaped: bool = False
    as_published: Literal["thapa2022", "slperf"] | None = None

    meeting: ClassVar[Meeting] = "handover"
    server: ClassVar[ServerPortion] = "shared"
    order: ClassVar[Order] = "client_major"
    client_state: ClassVar[ClientState] = "fresh"

    @property
    def published(self) -> Published:
        return {None: AS_WRITTEN, "thapa2022": THAPA2022, "slperf": SLPERF_VANILLA}[self.as_published]

    @property
    def server_state(self) -> ServerState:
        return self.published.server_state or "persistent"
