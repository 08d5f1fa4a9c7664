"""Extended vanilla split learning: Vepakomma et al. 2018, section 3; a configuration of SplitFed by Thapa et al. 2022,
"Variants"."""

from __future__ import annotations

from typing import ClassVar

from raysplit.parts.part import part
from raysplit.protocols.protocol import ClientState, ClientSync, Order, ServerPortion, ServerState, TrainingProtocol
from raysplit.protocols.topology import Topology


@part
class ExtendedSplit(TrainingProtocol):
    """Client A holds the data and the head, client B between it and the server a middle portion; the server gets B's
    smashed data.

    The model's ``cut`` ends the head and its ``tail`` the middle portion. A's data are the cohort's, pooled in cohort
    order; its labels travel with the smashed data. Between A and B ``relayed`` and ``relay_gradients`` are counted.
    Exactly the unsplit network (tests/invariants). Client portion, in tables and checkpoints: head and middle together.
    """

    client_sync: ClassVar[ClientSync] = "one_party"
    server: ClassVar[ServerPortion] = "shared"
    order: ClassVar[Order] = "client_major"
    client_state: ClassVar[ClientState] = "per_client"
    server_state: ClassVar[ServerState] = "persistent"
    topology: ClassVar[Topology] = Topology("extended")
