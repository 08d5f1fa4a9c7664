"""Vertically partitioned data: one batch of the same samples from every party."""

from __future__ import annotations

import torch

from raysplit.channels.channel import Channel
from raysplit.channels.message import Score
from raysplit.protocols.joint import PartyHeads
from raysplit.training.parties import ClientSlot, ServerSlot, backward
from raysplit.training.sites.send import Send


def vertical_step(client: ClientSlot, server: ServerSlot, x: torch.Tensor, y: torch.Tensor, send: Send) -> Score:
    """One batch: every party sends its smashed data and gets its part of the gradient."""
    heads = client.head[0]
    assert isinstance(heads, PartyHeads)
    client.zero_grad()
    smashed = heads.each(x)
    received = [send(Channel.SMASHED, z.detach(), None) for z in smashed]
    gradient, score = server.whole_step(heads.fuse(received), y)
    for z, own in zip(smashed, heads.parts(gradient, smashed), strict=True):
        backward(z, send(Channel.CUT_GRADIENTS, own, None))
    client.step()
    return score
