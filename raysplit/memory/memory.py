"""Memory from round to round: named tensors under paths, and nothing else.

A path says who remembers: its first segment is the scope.

* ``client/17/optimizer``: what client 17 keeps. An engine ships it to the host that plays client 17, and to nobody
  else.
* ``server/optimizer``: what the main server keeps. It is shipped to whoever plays the main server.
* ``fed/rule/updates``: what stays at the fed server and whoever coordinates rounds, the driver.

Checkpoints, replays after a lost actor, resumed and forked runs treat all entries alike, so a new memory is one line
where it is used: put an entry into ``Outcome.memory`` (or return it from a protocol's ``after``), find it in the next
round's. An entry that comes back as ``{}`` is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch

State = dict[str, torch.Tensor]
"""Tensors by name: what an optimiser, a rule, a detector remembers. ``{}`` is a fresh one's."""
Memory = dict[str, State]
"""Path → state. Never changed in place: a round's memory is the last one's, ``remembered``."""
Scope = Literal["client", "server", "fed"]

OPTIMIZER, PORTION = "optimizer", "portion"
"""What a client keeps: its optimiser's state; and ``portion`` [d_C] where its client portion is its own."""
CLIENT_DETECTION = "detection"
"""What a client's detectors remember, of it alone."""
IN_FLIGHT_PORTION, IN_FLIGHT_OPTIMIZER = "in_flight_portion", "in_flight_optimizer"
"""With what a client goes on whose local round began in an earlier round."""
SERVER_OPTIMIZER = "server/optimizer"
"""Of the shared server portion."""
SERVER_DETECTION = "server/detection"
"""Of the detectors at the main server."""
SERVER_REPLICAS = "server/replicas"
"""Replicas of the server portion that outlive a round."""
LAST_MOVE = "fed/last_move"
"""``move`` [d_C]: by how much the last round moved the global client portion, where an attack asks for it."""


def client_path(client: int, what: str) -> str:
    """Where client ``client`` keeps ``what``: ``OPTIMIZER``, ``PORTION``, …"""
    return f"client/{client}/{what}"


def rule_path(channel: str) -> str:
    """Where the aggregation rule on ``channel`` keeps its memory."""
    return f"fed/rule/{channel}"


def aggregate_optimizer_path(channel: str) -> str:
    """Where the optimiser that steps on what arrives on ``channel`` keeps its state."""
    return f"fed/optimizer/{channel}"


def scope_of(path: str) -> str:
    """``"client"``, ``"server"`` or ``"fed"``."""
    return path.partition("/")[0]


def client_of(path: str) -> int:
    """Whose an entry of scope ``client`` is."""
    return int(path.split("/", 2)[1])


def of_scope(memory: Mapping[str, State], scope: Scope) -> Memory:
    """The entries of one scope."""
    return {path: state for path, state in memory.items() if scope_of(path) == scope}


def of_clients(memory: Mapping[str, State], clients: Iterable[int]) -> Memory:
    """What these clients keep."""
    ids = {int(client) for client in clients}
    return {path: state for path, state in memory.items() if scope_of(path) == "client" and client_of(path) in ids}


def by_client(memory: Mapping[str, State], what: str) -> dict[int, State]:
    """Client id → what it keeps under ``what``, for all clients that keep it."""
    return {
        client_of(path): state
        for path, state in memory.items()
        if scope_of(path) == "client" and path.split("/", 2)[2] == what
    }


def portions_of(memory: Mapping[str, State]) -> dict[int, torch.Tensor]:
    """Client id → the portion [d_C] of its own, where clients keep one."""
    return {client: state["portion"] for client, state in sorted(by_client(memory, PORTION).items())}


def remembered(memory: Mapping[str, State], changes: Mapping[str, State]) -> Memory:
    """``memory`` with ``changes`` in it; what comes back empty is forgotten."""
    return {path: state for path, state in {**memory, **changes}.items() if state}


def copied(memory: Mapping[str, State]) -> Memory:
    """The same with tensors of its own, on the CPU: what comes from elsewhere may be a view of a large buffer."""
    return {
        path: {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}
        for path, state in memory.items()
    }
