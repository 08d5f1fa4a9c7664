"""Federated averaging: McMahan et al. 2017, Algorithm 1."""

from __future__ import annotations

from typing import ClassVar, Literal

from raysplit.parts.part import part
from raysplit.protocols.as_published import AS_WRITTEN, THAPA2022, Published
from raysplit.protocols.protocol import ClientState, ClientSync, Order, ServerPortion, ServerState, TrainingProtocol


@part
class FedAvg(TrainingProtocol):
    """Every client trains the whole model E local epochs from the round's weights; W ← Σ_k (n_k / n) W_k.

    The cut of the model is ignored: the client portion is everything, so robust rules and attacks act on all of it.
    ``as_published="thapa2022"``: as their code does it, docs/as-published.md.
    """

    as_published: Literal["thapa2022"] | None = None

    client_sync: ClassVar[ClientSync] = "averaging"
    server: ClassVar[ServerPortion] = "none"
    order: ClassVar[Order] = "parallel"
    client_state: ClassVar[ClientState] = "fresh"
    server_state: ClassVar[ServerState] = "fresh"

    @property
    def published(self) -> Published:
        return THAPA2022 if self.as_published else AS_WRITTEN
