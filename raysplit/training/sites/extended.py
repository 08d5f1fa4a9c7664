"""Extended vanilla split learning: one batch through both clients and the server, and its gradients back."""

from __future__ import annotations

import torch

from raysplit.channels.channel import Channel
from raysplit.channels.message import Score
from raysplit.training.parties import ClientSlot, ServerSlot
from raysplit.training.sites.send import Send


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
