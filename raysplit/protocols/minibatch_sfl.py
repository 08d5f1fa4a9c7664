"""MiniBatch-SFL: Huang, Tian and Tang 2023 (arXiv 2308.11953)."""

from __future__ import annotations

from typing import ClassVar

from raysplit.parts.part import part
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
class MiniBatchSfl(TrainingProtocol):
    """Clients as in federated learning, the server as in mini-batch SGD.

    For every step index the main server takes (Z_k, Y_k) from all clients that still have a batch, steps once on the
    mean over the union of these batches, and answers each with its own cut gradient G_k at the portion before that
    step. Client portions are averaged at the end of the round. With clients whose portions stay fixed it is mini-batch
    SGD of the server portion on the union.
    """

    u_shaped: bool = False

    client_sync: ClassVar[ClientSync] = "averaging"
    server: ClassVar[ServerPortion] = "shared"
    order: ClassVar[Order] = "interleaved"
    server_step: ClassVar[ServerStep] = "step"
    client_state: ClassVar[ClientState] = "fresh"
    server_state: ClassVar[ServerState] = "persistent"
