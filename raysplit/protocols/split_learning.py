"""Vanilla and U-shaped split learning with hand-over: Vepakomma et al. 2018; Khan et al. 2022, section 2.2."""

from __future__ import annotations

from typing import ClassVar, Literal

from raysplit.errors import ScenarioError
from raysplit.parts.part import part
from raysplit.protocols.as_published import AS_WRITTEN, SLPERF_VANILLA, THAPA2022, Published
from raysplit.protocols.protocol import ClientState, ClientSync, Order, ServerPortion, ServerState, TrainingProtocol


@part
class SplitLearning(TrainingProtocol):
    """Clients train one after another; each begins with the client portion of the one before it.

    ``handover="central"``: through a store, up then down, 2·|W_C| a client (what Thapa et al.'s Table 2 charges);
    ``"peer_to_peer"``: directly to the next client, |W_C| a hop. Both give the same weights, with other traffic and
    exposure. ``ring``: ``"random"`` draws the order anew each round, ``"fixed"`` keeps the cohort's order (Khan et
    al.). ``schedule``: ``"client"``, all of a client's batches and then the next client's; ``"minibatch"``, a hand-over
    after every batch, so that every client's b-th batch comes before any client's next one (the alternate mini-batch
    training of Gawali et al. 2021, arXiv 2012.12591). The ring is the same for all of a round; whoever has no batch
    left is passed over. ``as_published``: as the code of ``"thapa2022"`` or of ``"slperf"`` (vanilla) does it,
    docs/as-published.md. The optimiser state of the client portion is fresh at each hand-over unless
    ``Training(client_state="travels")`` or ``"per_client"``: with ``"minibatch"`` and momentum, choose one of these.
    """

    handover: Literal["central", "peer_to_peer"] = "central"
    ring: Literal["random", "fixed"] = "random"
    u_shaped: bool = False
    schedule: Literal["client", "minibatch"] = "client"
    as_published: Literal["thapa2022", "slperf"] | None = None

    client_sync: ClassVar[ClientSync] = "handover"
    server: ClassVar[ServerPortion] = "shared"
    client_state: ClassVar[ClientState] = "fresh"

    def __post_init__(self) -> None:
        if self.as_published is not None and self.schedule != "client":
            raise ScenarioError(
                f"SplitLearning(as_published={self.as_published!r}) trains one client after another, but schedule is "
                f"{self.schedule!r}; use schedule='client'"
            )

    @property
    def order(self) -> Order:
        return "client_major" if self.schedule == "client" else "interleaved"

    @property
    def published(self) -> Published:
        return {None: AS_WRITTEN, "thapa2022": THAPA2022, "slperf": SLPERF_VANILLA}[self.as_published]

    @property
    def server_state(self) -> ServerState:
        return self.published.server_state or "persistent"
