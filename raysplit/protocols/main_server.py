"""Which main server plays a protocol's server portion."""

from __future__ import annotations

import torch

from raysplit.optimizers import State
from raysplit.protocols.batched_server import BatchedServer
from raysplit.protocols.collected import CollectedReplicas
from raysplit.protocols.parties import ServerSeat
from raysplit.protocols.plan import RoundPlan
from raysplit.protocols.protocol import TrainingProtocol, server_turn
from raysplit.protocols.server_side import MainServerSide, ServerSide
from raysplit.protocols.waiting_servers import MeanGradientServer, ServerFirst
from raysplit.protocols.watched_server import Watch, WatchedServer


def open_server(
    protocol: TrainingProtocol,
    plan: RoundPlan,
    seats: list[ServerSeat],
    vector: torch.Tensor,
    state: State | None,
    groups: list[int],
    collected: CollectedReplicas | None = None,
    watch: Watch | None = None,
) -> MainServerSide:
    """The main server of a round. ``vector`` [d], ``state``: with what it begins; ``groups``: the client groups that it serves;
    ``collected``: replicas that outlive a round; ``watch``: where it is under detection."""
    turn = server_turn(protocol)
    if watch is not None:
        return WatchedServer(plan, seats[0], vector, state, watch)
    if turn == "visit":
        return ServerSide(protocol, plan, seats, vector, state, groups, collected)
    if turn == "mean_gradients":
        return MeanGradientServer(protocol, plan, seats[0], vector, state)
    if turn == "server_first":
        return ServerFirst(protocol, plan, seats[0], vector, state)
    return BatchedServer(protocol, plan, seats[0], vector, state)
