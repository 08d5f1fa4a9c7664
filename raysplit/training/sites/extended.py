"""Extended vanilla split learning: one batch through both clients and the server, and its gradients back."""

from __future__ import annotations

import torch

from raysplit.channels.channel import Channel
from raysplit.channels.message import Score
from raysplit.training.parties import ClientSlot, ServerSlot, backward, gradient_of
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
    backward(out_of_b, send(Channel.CUT_GRADIENTS, gradient, None))
    backward(out_of_a, send(Channel.RELAY_GRADIENTS, gradient_of(into_b), None))
    client.step()
    return score
