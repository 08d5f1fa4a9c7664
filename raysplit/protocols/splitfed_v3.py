"""SplitFedV3: Gawali et al. 2021, "Comparison of Privacy-Preserving Distributed Deep Learning Methods in Healthcare"
(arXiv 2012.12591)."""

from __future__ import annotations

from typing import ClassVar

from raysplit.parts.part import part
from raysplit.protocols.protocol import ClientState, ClientSync, Order, ServerPortion, ServerState, TrainingProtocol


@part
class SplitFedV3(TrainingProtocol):
    """Client portions are the clients' own and never averaged; server replicas are, with weights n_k / n, as in
    SplitFedV1.

    A client goes on from the portion with which it ended its last round, and before its first one from the initial
    portion, which all share and which no message brings. It is evaluated with its own portion, too. Whoever was never
    sampled is evaluated with the initial one, so evaluate clients that take part if that is not what you ask.
    """

    u_shaped: bool = False

    client_sync: ClassVar[ClientSync] = "personal"
    server: ClassVar[ServerPortion] = "replicas"
    order: ClassVar[Order] = "parallel"
    client_state: ClassVar[ClientState] = "per_client"
    server_state: ClassVar[ServerState] = "fresh"
