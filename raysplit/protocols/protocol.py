"""A protocol is four answers; everything else is shared (docs/design.md, section 2).

Where client portions meet, what the server portion is, who holds the labels, and in which order the parties step. The answers
are plain values; the local step (``parties.py``), the order of visits (``visits.py``) and the round are common to all.
"""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

Meeting = Literal["one_party", "averaging", "handover"]
ServerPortion = Literal["none", "replicas", "shared"]
Order = Literal["parallel", "client_major", "interleaved"]
ClientState = Literal["fresh", "per_client", "travels"]
ServerState = Literal["fresh", "persistent", "each_batch"]


@runtime_checkable
class TrainingProtocol(Protocol):
    """A frozen dataclass that answers the four questions, and names its own default optimiser-state policies."""

    @property
    def meeting(self) -> Meeting:
        """How client portions meet: in one party, by averaging at the fed server, or by hand-over."""
        ...

    @property
    def server(self) -> ServerPortion:
        """The server portion: none (the model is not cut), one replica a client, or one that all share."""
        ...

    @property
    def u_shaped(self) -> bool:
        """Whether labels and the last stages stay with the client."""
        ...

    @property
    def order(self) -> Order:
        """``parallel``: clients do not touch each other; else how they take turns at a shared server portion."""
        ...

    @property
    def client_state(self) -> ClientState:
        """The client optimiser's state when a client begins a round, unless ``Training.client_state`` says otherwise."""
        ...

    @property
    def server_state(self) -> ServerState:
        """The server optimiser's state when a round begins, unless ``Training.server_state`` says otherwise."""
        ...


Pace = Literal["synchronous", "loss_drop", "buffered"]


def pace_of(protocol: TrainingProtocol) -> Pace:
    """Who waits for whom: an answer that a protocol may leave out, and then everybody waits for the whole cohort."""
    pace: Pace = getattr(protocol, "pace", "synchronous")
    return pace
