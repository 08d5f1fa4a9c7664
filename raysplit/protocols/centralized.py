"""Centralised training: one party holds the cohort's data and the whole model. The reference that the others are held
to."""

from __future__ import annotations

from typing import ClassVar

from raysplit.parts.part import part
from raysplit.protocols.protocol import ClientState, ClientSync, Order, ServerPortion, ServerState, TrainingProtocol


@part
class Centralized(TrainingProtocol):
    """The cohort's training sets are pooled, in cohort order, and trained as one set ("Normal" in Thapa et al., Table
    5)."""

    client_sync: ClassVar[ClientSync] = "one_party"
    server: ClassVar[ServerPortion] = "none"
    order: ClassVar[Order] = "parallel"
    client_state: ClassVar[ClientState] = "per_client"
    server_state: ClassVar[ServerState] = "fresh"
