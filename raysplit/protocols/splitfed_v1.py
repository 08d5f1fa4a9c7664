"""SplitFedV1: Thapa et al. 2022, Algorithms 1 and 2, read as copies-then-average."""

from __future__ import annotations

from typing import ClassVar, Literal

from raysplit.parts import part
from raysplit.protocols.as_published import AS_WRITTEN, THAPA2022, Published
from raysplit.protocols.protocol import ClientState, Meeting, Order, ServerPortion, ServerState


@part
class SplitFedV1:
    """Every client trains with its own replica of the server portion; both portions are averaged with weights n_k / n.

    ``as_published="thapa2022"``: as the authors' code does it, docs/as-published.md. Otherwise
    exactly FedAvg on the unsplit model, whatever the cut (reference 6.1, invariant 1; tests/invariants).
    """

    u_shaped: bool = False
    as_published: Literal["thapa2022"] | None = None

    meeting: ClassVar[Meeting] = "averaging"
    server: ClassVar[ServerPortion] = "replicas"
    client_state: ClassVar[ClientState] = "fresh"

    @property
    def published(self) -> Published:
        return THAPA2022 if self.as_published else AS_WRITTEN

    @property
    def order(self) -> Order:
        return "client_major" if self.as_published else "parallel"

    @property
    def server_state(self) -> ServerState:
        return self.published.server_state or "fresh"
