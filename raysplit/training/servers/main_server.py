"""Which main server plays a protocol's server portion."""

from __future__ import annotations

import torch

from raysplit.channels.hooks import PartyEnd
from raysplit.memory.memory import State
from raysplit.protocols.plan import RoundPlan
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.training.parties import ServerSlot
from raysplit.training.server import MainServer
from raysplit.training.servers.batched_server import BatchedServer
from raysplit.training.servers.collected import CollectedReplicas
from raysplit.training.servers.replica_server import ReplicaServer
from raysplit.training.servers.shared_server import SharedServer
from raysplit.training.servers.waiting_servers import MeanGradientServer, ServerFirst


def open_server(
    protocol: TrainingProtocol,
    plan: RoundPlan,
    slots: list[ServerSlot],
    vector: torch.Tensor,
    state: State | None,
    groups: list[int],
    end: PartyEnd,
    collected: CollectedReplicas | None = None,
) -> MainServer:
    """The main server of a round. ``vector`` [d], ``state``: with what it begins; ``groups``: the client groups that it
    serves; ``end``: its end of the channels; ``collected``: replicas that outlive a round."""
    if protocol.server == "replicas":
        return ReplicaServer(plan, slots, vector, state, groups, end, collected)
    match protocol.server_step:
        case "split_step":
            return SharedServer(plan, slots[0], vector, state, end)
        case "mean_gradients":
            return MeanGradientServer(protocol, plan, slots[0], vector, state)
        case "server_first":
            return ServerFirst(protocol, plan, slots[0], vector, state)
        case _:
            return BatchedServer(protocol, plan, slots[0], vector, state)
