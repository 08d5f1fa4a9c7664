"""A protocol is four answers; everything else is shared (docs/design.md, section 2).

Where client portions meet, what the server portion is, who holds the labels, and in which order the parties step. The
answers are plain values; the local step (``parties.py``), the order of visits (``split_steps.py``) and the round are
common to all.
"""

from __future__ import annotations

from typing import Literal, Protocol, get_args, runtime_checkable

from raysplit.errors import ScenarioError

ClientSync = Literal["one_party", "averaging", "handover", "personal"]
ServerPortion = Literal["none", "replicas", "shared"]
Order = Literal["parallel", "client_major", "interleaved"]
ClientState = Literal["fresh", "per_client", "travels"]
ServerState = Literal["fresh", "persistent", "each_batch"]
ServerStep = Literal["visit", "step", "round", "mean_gradients", "server_first"]
"""When one shared server portion steps, and on what. A finer answer than the four, read where a protocol gives it:

``split_step``: after every visit (the default). ``step``: once a step index, on the gradients of all its visits at the
same portion. ``round``: once a round, on the gradients of all its visits. These answer every visit at once. The others
wait until every client's batch of a step index has come: ``mean_gradients`` sends clients a common cut gradient,
``server_first`` trains the portion on all of the step's smashed data before it sends any.
"""
Synchrony = Literal["synchronous", "loss_drop", "buffered"]
"""Who waits for whom: everybody for the whole cohort, unless the protocol says otherwise (``synchrony.py``)."""


@runtime_checkable
class TrainingProtocol(Protocol):
    """A frozen dataclass that answers the four questions, and names its own default optimiser-state policies."""

    @property
    def client_sync(self) -> ClientSync:
        """How client portions meet: in one party, by averaging at the fed server, by hand-over, or never
        (``personal``)."""
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
        """The client optimiser's state when a client begins a round, unless ``Training.client_state`` says
        otherwise."""
        ...

    @property
    def server_state(self) -> ServerState:
        """The server optimiser's state when a round begins, unless ``Training.server_state`` says otherwise."""
        ...


def server_step(protocol: TrainingProtocol) -> ServerStep:
    """When a protocol's shared server portion steps; ``"split_step"`` unless the protocol says otherwise."""
    turn: ServerStep = getattr(protocol, "server_step", "visit")
    return turn


def waits(protocol: TrainingProtocol) -> bool:
    """Whether the server answers only once every client's batch of a step index has come."""
    return server_step(protocol) in ("mean_gradients", "server_first")


def check_server_step(protocol: TrainingProtocol) -> None:
    """Raise ``ScenarioError`` where a protocol's ``server_step`` does not go with its other answers."""
    turn, kind = server_step(protocol), type(protocol).__name__
    if turn == "visit":
        return
    if turn not in get_args(ServerStep):
        known = " or ".join(repr(value) for value in get_args(ServerStep))
        raise ScenarioError(f"{kind}.server_step must be {known}, but it is {turn!r}")
    if protocol.server != "shared" or protocol.client_sync == "handover":
        raise ScenarioError(
            f"{kind}.server_step={turn!r} needs one shared server portion that many clients visit side by side, but "
            f"{kind} has "
            f"server={protocol.server!r} and client_sync={protocol.client_sync!r}; leave server_step out"
        )
    if turn != "round" and protocol.order != "interleaved":
        raise ScenarioError(
            f"{kind}.server_step={turn!r} takes everybody's batch before anybody's next, but {kind} has "
            f"order={protocol.order!r}; "
            "use 'interleaved'"
        )
    if waits(protocol) and protocol.u_shaped:
        raise ScenarioError(
            f"{kind}.server_step={turn!r} needs the labels at the main server, but {kind} is U-shaped; use "
            "server_step 'step' or u_shaped=False"
        )


def synchrony_of(protocol: TrainingProtocol) -> Synchrony:
    """Who waits for whom: an answer that a protocol may leave out, and then everybody waits for the whole cohort."""
    synchrony: Synchrony = getattr(protocol, "synchrony", "synchronous")
    return synchrony


def check_synchrony(protocol: TrainingProtocol) -> None:
    """Raise ``ScenarioError`` where a protocol's ``synchrony`` does not go with its other answers."""
    synchrony, kind = synchrony_of(protocol), type(protocol).__name__
    if synchrony == "synchronous":
        return
    if synchrony not in get_args(Synchrony):
        known = " or ".join(repr(value) for value in get_args(Synchrony))
        raise ScenarioError(f"{kind}.synchrony must be {known}, but it is {synchrony!r}")
    if protocol.server != "shared" or server_step(protocol) != "visit" or protocol.u_shaped:
        raise ScenarioError(
            f"{kind}.synchrony={synchrony!r} needs one shared server portion that has the labels and steps after every "
            f"visit, but {kind} has "
            f"server={protocol.server!r}, server_step={server_step(protocol)!r} and u_shaped={protocol.u_shaped}; "
            "leave synchrony out"
        )
    allowed = ("averaging",) if synchrony == "buffered" else ("averaging", "handover")
    if protocol.client_sync not in allowed:
        raise ScenarioError(
            f"{kind}.synchrony={synchrony!r} is about client portions that meet by {' or '.join(allowed)}, but {kind} "
            "has "
            f"client_sync={protocol.client_sync!r}; leave synchrony out"
        )
    if protocol.client_sync == "handover" and protocol.order != "client_major":
        raise ScenarioError(
            f"{kind}.synchrony={synchrony!r} lets a client take its whole turn, but {kind} has "
            f"order={protocol.order!r}; "
            "use 'client_major'"
        )
    if synchrony == "loss_drop" and not hasattr(protocol, "threshold"):
        raise ScenarioError(f"{kind}.synchrony='loss_drop' needs a {kind}.threshold, in nats; see AsyncSplitFed")
