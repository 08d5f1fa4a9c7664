"""Which protocols the cost model understands. One that gives other answers is refused, never costed as if it were
another."""

from __future__ import annotations

from raysplit.errors import ScenarioError
from raysplit.protocols.protocol import TrainingProtocol

_ANSWERS = {
    ("one_party", "none"),
    ("averaging", "none"),
    ("averaging", "replicas"),
    ("averaging", "shared"),
    ("personal", "replicas"),
    ("personal", "shared"),
    ("handover", "shared"),
}
_SERVER_STEPS = ("visit", "step", "round", "mean_gradients", "server_first")


def server_step(protocol: TrainingProtocol) -> str:
    """When a shared server portion steps: after every ``split_step`` unless the protocol says otherwise."""
    return str(getattr(protocol, "server_step", "visit"))


def server_passes(protocol: TrainingProtocol) -> int:
    """How often the server portion goes over each smashed sample: once, or ``server_epochs`` times before it takes the
    cut gradients."""
    return 1 + int(getattr(protocol, "server_epochs", 1)) if server_step(protocol) == "server_first" else 1


def hands_over_each_batch(protocol: TrainingProtocol) -> bool:
    """Whether the client portion is handed over after every batch, and not when a client has taken all of its own."""
    return protocol.client_sync == "handover" and protocol.order == "interleaved"


def check_known(protocol: TrainingProtocol, what: str, instead: str = "") -> None:
    """Raise ``ScenarioError`` for a protocol whose dependencies are not known here; ``what`` is what cannot be given,
    ``instead`` what to do."""
    answers: tuple[str, str] = (protocol.client_sync, protocol.server)
    synchrony, turn = str(getattr(protocol, "synchrony", "synchronous")), server_step(protocol)
    if answers not in _ANSWERS:
        strange = f"client_sync={answers[0]!r} with server={answers[1]!r}"
    elif synchrony != "synchronous":
        strange = f"synchrony={synchrony!r}"
    elif turn not in _SERVER_STEPS:
        strange = f"server_step={turn!r}"
    elif protocol.u_shaped and turn in ("mean_gradients", "server_first"):
        strange = f"server_step={turn!r} in a U-shape"
    else:
        return
    raise ScenarioError(f"{type(protocol).__name__} has {strange}, for which {what} cannot be given{instead}")
