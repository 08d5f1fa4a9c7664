"""Which protocols the cost model understands. One that gives other answers is refused, never costed as if it were another."""

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
_TURNS = ("visit", "step", "round", "mean_gradients")


def server_turn(protocol: TrainingProtocol) -> str:
    """When a shared server portion steps: after every ``visit`` unless the protocol says otherwise."""
    return str(getattr(protocol, "server_turn", "visit"))


def check_known(protocol: TrainingProtocol, what: str) -> None:
    """Raise ``ScenarioError`` for a protocol whose dependencies are not known here; ``what`` is what cannot be given."""
    answers: tuple[str, str] = (protocol.meeting, protocol.server)
    pace, turn = str(getattr(protocol, "pace", "synchronous")), server_turn(protocol)
    if answers not in _ANSWERS:
        strange = f"meeting={answers[0]!r} with server={answers[1]!r}"
    elif pace != "synchronous":
        strange = f"pace={pace!r}"
    elif turn not in _TURNS:
        strange = f"server_turn={turn!r}"
    else:
        return
    raise ScenarioError(
        f"{type(protocol).__name__} has {strange}, for which {what} cannot be given; leave Scenario.devices out"
    )
