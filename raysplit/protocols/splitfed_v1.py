"""SplitFedV1: Thapa et al. 2022, Algorithms 1 and 2, in its three readings."""

from __future__ import annotations

from typing import ClassVar, Literal

from raysplit.errors import ScenarioError
from raysplit.parts.part import part
from raysplit.protocols.as_published import AS_WRITTEN, THAPA2022, Published
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
class SplitFedV1(TrainingProtocol):
    """Client portions are averaged with weights n_k / n; ``reading`` says what "average" means at the main server.

    ``"copies"`` (the authors' code): every client trains with its own replica of the server portion, and replicas are
    averaged as client portions are. Exactly FedAvg on the unsplit model, whatever the cut (reference 6.1, invariant 1;
    tests/invariants). ``"gradients"`` (as Algorithm 1 is printed): the server portion stays fixed for a round, then
    W_S ← W_S − η Σ_k (n_k/n) ∇ℓ_k(W_S), where ∇ℓ_k is the sum of client k's gradients over its steps. Equal to
    ``"copies"`` for one batch, one epoch and plain SGD. ``"accumulated"``: one server step a step index, on all
    clients' gradients of it at the same W_S. ``accumulate="mean"``: over the union of their batches (then it is
    ``MiniBatchSfl``); ``"sum"``: the sum of the clients' mean gradients, as ResSFL's V1_batch is described.
    ``as_published="thapa2022"``: ``"copies"`` with all else that the authors' code does, docs/as-published.md.
    """

    u_shaped: bool = False
    reading: Literal["copies", "gradients", "accumulated"] = "copies"
    accumulate: Literal["mean", "sum"] = "mean"
    as_published: Literal["thapa2022"] | None = None

    client_sync: ClassVar[ClientSync] = "averaging"
    client_state: ClassVar[ClientState] = "fresh"

    def __post_init__(self) -> None:
        if self.accumulate != "mean" and self.reading != "accumulated":
            raise ScenarioError(
                f"SplitFedV1(accumulate={self.accumulate!r}) belongs to reading='accumulated', but reading is "
                f"{self.reading!r}"
            )
        if self.as_published is not None and self.reading != "copies":
            raise ScenarioError(
                f"SplitFedV1(as_published={self.as_published!r}) keeps a copy of the server portion a client, but "
                f"reading is {self.reading!r}; use reading='copies'"
            )

    @property
    def published(self) -> Published:
        return THAPA2022 if self.as_published else AS_WRITTEN

    @property
    def server(self) -> ServerPortion:
        return "replicas" if self.reading == "copies" else "shared"

    @property
    def order(self) -> Order:
        if self.as_published:
            return "client_major"
        return "parallel" if self.reading == "copies" else "interleaved"

    @property
    def server_state(self) -> ServerState:
        return self.published.server_state or ("fresh" if self.reading == "copies" else "persistent")

    @property
    def server_step(self) -> ServerStep:
        steps: dict[str, ServerStep] = {"copies": "split_step", "gradients": "round", "accumulated": "step"}
        return steps[self.reading]
