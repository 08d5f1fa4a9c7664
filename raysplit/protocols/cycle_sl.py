"""CycleSL: Wang, Bozkir and Kasneci 2025, "Server-Client Cyclical Update Driven Scalable Split Learning" (arXiv
2511.18611)."""

from __future__ import annotations

from typing import ClassVar

from raysplit.parts.part import part, within
from raysplit.protocols.protocol import (
    ClientState,
    ClientSync,
    Order,
    ServerPortion,
    ServerState,
    ServerStep,
    TrainingProtocol,
)


@part
class CycleSfl(TrainingProtocol):
    """The server's training as a task of its own, before the clients': block-coordinate descent on the two portions.

    At every step index the smashed data of all clients are one data set. The main server first trains its portion on it
    for ``server_epochs``, in seeded mini-batches of ``server_batch`` samples mixed over clients (None: all of it at
    once); then each client gets the cut gradients of its own batch at the *updated* portion, which stays fixed
    meanwhile, and steps. Client portions are averaged at the end of the round, as in SplitFed.

    From the paper are the order (server first, clients by the updated server) and the resampling over clients; how
    often the cycle runs is not certain from what was at hand. Here it runs once a step index, so with
    ``batch_size=None`` and one local epoch once a round. Labels go to the server: no U-shape.
    """

    server_epochs: int = 1
    server_batch: int | None = None

    client_sync: ClassVar[ClientSync] = "averaging"
    server: ClassVar[ServerPortion] = "shared"
    order: ClassVar[Order] = "interleaved"
    server_step: ClassVar[ServerStep] = "server_first"
    client_state: ClassVar[ClientState] = "fresh"
    server_state: ClassVar[ServerState] = "persistent"

    def __post_init__(self) -> None:
        _check("CycleSfl", self.server_epochs, self.server_batch)


@part
class CyclePsl(TrainingProtocol):
    """``CycleSfl`` whose client portions stay with their clients and are never averaged (see ``SplitFedV3``)."""

    server_epochs: int = 1
    server_batch: int | None = None

    client_sync: ClassVar[ClientSync] = "personal"
    server: ClassVar[ServerPortion] = "shared"
    order: ClassVar[Order] = "interleaved"
    server_step: ClassVar[ServerStep] = "server_first"
    client_state: ClassVar[ClientState] = "per_client"
    server_state: ClassVar[ServerState] = "persistent"

    def __post_init__(self) -> None:
        _check("CyclePsl", self.server_epochs, self.server_batch)


def _check(kind: str, epochs: int, batch: int | None) -> None:
    within(f"{kind}.server_epochs", epochs, 1)
    if batch is not None:
        within(f"{kind}.server_batch", batch, 1)
