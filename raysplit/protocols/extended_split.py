"""Extended vanilla split learning: Vepakomma et al. 2018, section 3; a configuration of SplitFed by Thapa et al. 2022,
"Variants"."""

from __future__ import annotations

from typing import ClassVar

import torch

from raysplit.channels.channel import Channel
from raysplit.channels.message import Score
from raysplit.parts.part import part
from raysplit.protocols.protocol import ClientState, ClientSync, Order, ServerPortion, ServerState, TrainingProtocol
from raysplit.protocols.topology import Topology
from raysplit.protocols.vertical_split import Send
from raysplit.training.parties import ClientSlot, ServerSlot


@part
class ExtendedSplit(TrainingProtocol):
    """Client A holds the data and the head, client B between it and the server a middle portion; the server gets B's
    smashed data.

    The model's ``cut`` ends the head and its ``tail`` the middle portion. A's data are the cohort's, pooled in cohort
    order; its labels travel with the smashed data. Between A and B ``relayed`` and ``relay_gradients`` are counted.
    Exactly the unsplit network (tests/invariants). Client portion, in tables and checkpoints: head and middle together.
    """

    client_sync: ClassVar[ClientSync] = "one_party"
    server: ClassVar[ServerPortion] = "shared"
    order: ClassVar[Order] = "client_major"
    client_state: ClassVar[ClientState] = "per_client"
    server_state: ClassVar[ServerState] = "persistent"
    topology: ClassVar[Topology] = Topology("extended")


def extended_step(
    client: ClientSlot, server: ServerSlot, first: int, x: torch.Tensor, y: torch.Tensor, send: Send
) -> Score:
    """One batch through A (the first ``first`` stages), B and the server, and its gradients all the way back."""
    head, middle = client.head[:first], client.head[first:]
    client.zero_grad()
    out_of_a = head(x)
    into_b = send(Channel.RELAYED, out_of_a.detach(), None).detach().requires_grad_()
    out_of_b = middle(into_b)
    gradient, score = server.whole_step(send(Channel.SMASHED, out_of_b.detach(), y), y)
    out_of_b.backward(send(Channel.CUT_GRADIENTS, gradient, None))
    assert into_b.grad is not None
    out_of_a.backward(send(Channel.RELAY_GRADIENTS, into_b.grad, None))
    client.step()
    return score
