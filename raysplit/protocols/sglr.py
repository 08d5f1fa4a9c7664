"""SGLR: Pal et al. 2021, "Server-Side Local Gradient Averaging and Learning Rate Acceleration for Scalable Split
Learning" (arXiv 2112.05929)."""

from __future__ import annotations

from typing import ClassVar

from raysplit.errors import ScenarioError
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
class Sglr(TrainingProtocol):
    """Parallel split learning in which the server broadcasts an averaged cut gradient and learns faster than its
    clients.

    At every step index a random ``active_share`` of the clients (at least one, drawn anew) gets the mean of their cut
    gradients instead of its own; the others get their own. The server steps once on the mean over the union of the
    batches, at its rate times K^``lr_exponent``, K the cohort's size. Client portions are never averaged (the common
    gradient is used instead), unless ``synchronise=True``. ``0.5`` and ``0.5`` are SLPerf's values; that clients are
    not synchronised and that the rate is raised are the abstract's, the rest is read from descriptions, not from the
    paper's text.

    A mean of per-sample gradients needs a partner for each sample: position i of a batch is averaged over those active
    clients whose batch has a position i. With batches of one size that is the plain mean. Labels go to the server: no
    U-shape.
    """

    active_share: float = 0.5
    lr_exponent: float = 0.5
    synchronise: bool = False

    server: ClassVar[ServerPortion] = "shared"
    order: ClassVar[Order] = "interleaved"
    server_step: ClassVar[ServerStep] = "mean_gradients"
    client_state: ClassVar[ClientState] = "per_client"
    server_state: ClassVar[ServerState] = "persistent"

    def __post_init__(self) -> None:
        if not 0 < self.active_share <= 1:
            raise ScenarioError(
                f"Sglr.active_share is a share and must be above 0 and at most 1, but it is {self.active_share!r}"
            )
        within("Sglr.lr_exponent", self.lr_exponent, 0, 10)

    @property
    def client_sync(self) -> ClientSync:
        return "averaging" if self.synchronise else "personal"
