"""Parallel split learning without any synchronisation of client portions: reference 1.8, "No-client-sync PSL"."""

from __future__ import annotations

from typing import ClassVar, Literal

from raysplit.parts.part import part
from raysplit.protocols.protocol import ClientState, ClientSync, ServerPortion, ServerState, TrainingProtocol


@part
class ParallelSl(TrainingProtocol):
    """One server portion that every split step updates, as in SplitFedV2; client portions stay with their clients (see
    ``SplitFedV3``).

    No peer and no fed server ever sees a client portion. ``order`` as in ``SplitFedV2``.
    """

    order: Literal["interleaved", "client_major"] = "interleaved"
    u_shaped: bool = False

    client_sync: ClassVar[ClientSync] = "personal"
    server: ClassVar[ServerPortion] = "shared"
    client_state: ClassVar[ClientState] = "per_client"
    server_state: ClassVar[ServerState] = "persistent"
