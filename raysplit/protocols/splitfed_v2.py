"""SplitFedV2: Thapa et al. 2022, "Variants of Splitfed Learning"; the SplitFed that Khan et al. 2022 attack."""

from __future__ import annotations

from typing import ClassVar, Literal

from raysplit.parts import part
from raysplit.protocols.protocol import ClientState, Meeting, ServerPortion, ServerState


@part
class SplitFedV2:
    """One server portion that every forward-backward pass updates, clients in random order; client portions are averaged.

    ``order="interleaved"``: batch by batch, every client's b-th batch before any client's next one, in an order drawn anew
    for each b (the paper's text); ``"client_major"``: all of a client's batches, then the next client's (the authors' code).
    """

    order: Literal["interleaved", "client_major"] = "interleaved"
    u_shaped: bool = False

    meeting: ClassVar[Meeting] = "averaging"
    server: ClassVar[ServerPortion] = "shared"
    client_state: ClassVar[ClientState] = "fresh"
    server_state: ClassVar[ServerState] = "persistent"
