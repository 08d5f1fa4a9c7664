"""SplitFedV2: Thapa et al. 2022, "Variants of Splitfed Learning"; the SplitFed that Khan et al. 2022 attack."""

from __future__ import annotations

from typing import ClassVar, Literal

from raysplit.errors import ScenarioError
from raysplit.parts.part import part
from raysplit.protocols.as_published import AS_WRITTEN, SLPERF_SPLITFED, THAPA2022, Published
from raysplit.protocols.protocol import ClientState, ClientSync, ServerPortion, ServerState, TrainingProtocol


@part
class SplitFedV2(TrainingProtocol):
    """One server portion that every forward-backward pass updates, clients in random order; client portions are
    averaged.

    ``order="interleaved"``: batch by batch, every client's b-th batch before any client's next one, in an order that is
    random anew for each b (the paper's text); ``"client_major"``: all of a client's batches, then the next client's
    (the authors' code). ``as_published``: as the code of ``"thapa2022"`` or of ``"slperf"`` does it,
    docs/as-published.md.
    """

    order: Literal["interleaved", "client_major"] = "interleaved"
    u_shaped: bool = False
    as_published: Literal["thapa2022", "slperf"] | None = None

    client_sync: ClassVar[ClientSync] = "averaging"
    server: ClassVar[ServerPortion] = "shared"
    client_state: ClassVar[ClientState] = "fresh"

    def __post_init__(self) -> None:
        if self.as_published is not None and self.order != "client_major":
            raise ScenarioError(
                f"SplitFedV2(as_published={self.as_published!r}) trains one client after another; add "
                "order='client_major'"
            )

    @property
    def published(self) -> Published:
        return {None: AS_WRITTEN, "thapa2022": THAPA2022, "slperf": SLPERF_SPLITFED}[self.as_published]

    @property
    def server_state(self) -> ServerState:
        return self.published.server_state or "persistent"
