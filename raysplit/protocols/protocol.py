"""A protocol is four answers; everything else is shared (docs/design.md, section 2).

Where client portions meet, what the server portion is, who holds the labels, and in which order the parties step. The answers
are plain values; the local step (``parties.py``), the order of visits (``visits.py``) and the round are common to all.
"""

from __future__ import annotations

from typing import Literal, Protocol, get_args, runtime_checkable

from raysplit.errors import ScenarioError

Meeting = Literal["one_party", "averaging", "handover", "personal"]
ServerPortion = Literal["none", "replicas", "shared"]
Order = Literal["parallel", "client_major", "interleaved"]
ClientState = Literal["fresh", "per_client", "travels"]
ServerState = Literal["fresh", "persistent", "each_batch"]
ServerTurn = Literal["visit", "step", "round", "mean_gradients", "server_first"]
"""When one shared server portion steps, and on what. A finer answer than the four, read where a protocol gives it:

``visit``: after every visit (the default). ``step``: once a step index, on the gradients of all its visits at the same portion.
``round``: once a round, on the gradients of all its visits. These answer every visit at once. The others wait until every
client's batch of a step index has come: ``mean_gradients`` sends clients a common cut gradient, ``server_first`` trains the
portion on all of the step's smashed data before it sends any.
"""
Pace = Literal["synchronous", "loss_drop", "buffered"]
"""Who waits for whom: everybody for the whole cohort, unless the protocol says otherwise (``pace.py``)."""


@runtime_checkable
class TrainingProtocol(Protocol):
    """A frozen dataclass that answers the four questions, and names its own default optimiser-state policies."""

    @property
    def meeting(self) -> Meeting:
        """How client portions meet: in one party, by averaging at the fed server, by hand-over, or never (``personal``)."""
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


def server_turn(protocol: TrainingProtocol) -> ServerTurn:
    """When a protocol's shared server portion steps; ``"visit"`` unless the protocol says otherwise."""
    turn: ServerTurn = getattr(protocol, "server_turn", "visit")
    return turn


def waits(protocol: TrainingProtocol) -> bool:
    """Whether the server answers only once every client's batch of a step index has come."""
    return server_turn(protocol) in ("mean_gradients", "server_first")


def check_turn(protocol: TrainingProtocol) -> None:
    """Raise ``ScenarioError`` where a protocol's ``server_turn`` does not go with its other answers."""
    turn, kind = server_turn(protocol), type(protocol).__name__
    if turn == "visit":
        return
    if turn not in get_args(ServerTurn):
        known = " or ".join(repr(value) for value in get_args(ServerTurn))
        raise ScenarioError(f"{kind}.server_turn must be {known}, but it is {turn!r}")
    if protocol.server != "shared" or protocol.meeting == "handover":
        raise ScenarioError(
            f"{kind}.server_turn={turn!r} needs one shared server portion that many clients visit side by side, but {kind} has "
            f"server={protocol.server!r} and meeting={protocol.meeting!r}; leave server_turn out"
        )
    if turn != "round" and protocol.order != "interleaved":
        raise ScenarioError(
            f"{kind}.server_turn={turn!r} takes everybody's batch before anybody's next, but {kind} has order={protocol.order!r}; "
            "use 'interleaved'"
        )
    if waits(protocol) and protocol.u_shaped:
        raise ScenarioError(
            f"{kind}.server_turn={turn!r} needs the labels at the main server, but {kind} is U-shaped; use server_turn 'step' or u_shaped=False"
        )


def pace_of(protocol: TrainingProtocol) -> Pace:
    """Who waits for whom: an answer that a protocol may leave out, and then everybody waits for the whole cohort."""
    pace: Pace = getattr(protocol, "pace", "synchronous")
    return pace


def check_pace(protocol: TrainingProtocol) -> None:
    """Raise ``ScenarioError`` where a protocol's ``pace`` does not go with its other answers."""
    pace, kind = pace_of(protocol), type(protocol).__name__
    if pace == "synchronous":
        return
    if pace not in get_args(Pace):
        known = " or ".join(repr(value) for value in get_args(Pace))
        raise ScenarioError(f"{kind}.pace must be {known}, but it is {pace!r}")
    if protocol.server != "shared" or server_turn(protocol) != "visit" or protocol.u_shaped:
        raise ScenarioError(
            f"{kind}.pace={pace!r} needs one shared server portion that has the labels and steps after every visit, but {kind} has "
            f"server={protocol.server!r}, server_turn={server_turn(protocol)!r} and u_shaped={protocol.u_shaped}; leave pace out"
        )
    meetings = ("averaging",) if pace == "buffered" else ("averaging", "handover")
    if protocol.meeting not in meetings:
        raise ScenarioError(
            f"{kind}.pace={pace!r} is about client portions that meet by {' or '.join(meetings)}, but {kind} has "
            f"meeting={protocol.meeting!r}; leave pace out"
        )
    if protocol.meeting == "handover" and protocol.order != "client_major":
        raise ScenarioError(
            f"{kind}.pace={pace!r} lets a client take its whole turn, but {kind} has order={protocol.order!r}; use 'client_major'"
        )
    if pace == "loss_drop" and not hasattr(protocol, "threshold"):
        raise ScenarioError(f"{kind}.pace='loss_drop' needs a {kind}.threshold, in nats; see AsyncSplitFed")
