"""Which main server plays a protocol's server portion."""

from __future__ import annotations

import torch

from raysplit.protocols.plan import RoundPlan
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.training.optimizers import State
from raysplit.training.parties import ServerSlot
from raysplit.training.servers.batched_server import BatchedServer
from raysplit.training.servers.collected import CollectedReplicas
from raysplit.training.servers.server_side import MainServerSide, ServerSide
from raysplit.training.servers.waiting_servers import MeanGradientServer, ServerFirst
from raysplit.training.servers.watched_server import Watch, WatchedServer


def open_server(
    protocol: TrainingProtocol,
    plan: RoundPlan,
    slots: list[ServerSlot],
    vector: torch.Tensor,
    state: State | None,
    groups: list[int],
    collected: CollectedReplicas | None = None,
    watch: Watch | None = None,
) -> MainServerSide:
    """The main server of a round. ``vector`` [d], ``state``: with what it begins; ``groups``: the client groups that it
    serves; ``collected``: replicas that outlive a round; ``watch``: where it is under detection."""
    turn = protocol.server_step
    if watch is not None:
        return WatchedServer(plan, slots[0], vector, state, watch)
    if turn == "split_step":
        return ServerSide(protocol, plan, slots, vector, state, groups, collected)
    if turn == "mean_gradients":
        return MeanGradientServer(protocol, plan, slots[0], vector, state)
    if turn == "server_first":
        return ServerFirst(protocol, plan, slots[0], vector, state)
    return BatchedServer(protocol, plan, slots[0], vector, state)
