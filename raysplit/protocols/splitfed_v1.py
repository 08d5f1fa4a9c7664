"""SplitFedV1: Thapa et al. 2022, Algorithms 1 and 2, read as copies-then-average."""

from __future__ import annotations

from typing import ClassVar

from raysplit.parts import part
from raysplit.protocols.protocol import ClientState, Meeting, Order, ServerPortion, ServerState


@part
class SplitFedV1:
    """Every client trains with its own replica of the server portion; both portions are averaged with weights n_k / n.

    Exactly FedAvg on the unsplit model, whatever the cut (reference 6.1, invariant 1; tests/invariants).
    """

    u_shaped: bool = False

    meeting: ClassVar[Meeting] = "averaging"
    server: ClassVar[ServerPortion] = "replicas"
    order: ClassVar[Order] = "parallel"
    client_state: ClassVar[ClientState] = "fresh"
    server_state: ClassVar[ServerState] = "fresh"
