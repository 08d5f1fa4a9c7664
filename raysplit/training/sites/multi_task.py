"""Multi-task split learning: one batch to and from every task's server."""

from __future__ import annotations

import torch
from torch.nn import functional

from raysplit.channels.channel import Channel
from raysplit.channels.message import Score
from raysplit.protocols.joint import TaskBodies
from raysplit.protocols.topology import Topology
from raysplit.training.parties import ClientSlot, ServerSlot, backward, gradient_of
from raysplit.training.sites.send import Send


def multi_task_step(
    client: ClientSlot, server: ServerSlot, topology: Topology, x: torch.Tensor, y: torch.Tensor, send: Send
) -> Score:
    """One batch: forward once, to and from every server in turn, backward once."""
    bodies = server.body[0]
    assert isinstance(bodies, TaskBodies)
    client.zero_grad()
    server.zero_grad()
    smashed = client.head(x)
    total, correct, summed = 0.0, 0, torch.zeros_like(smashed)
    for task, (labels, weight) in enumerate(zip(topology.labels, topology.weights, strict=True)):
        leaf = send(Channel.SMASHED, smashed.detach(), None).detach().requires_grad_()
        target = y if labels is None else torch.tensor(labels, device=y.device)[y]
        logits = bodies.logits(task, leaf)
        loss = weight * functional.cross_entropy(logits, target)
        loss.backward()  # type: ignore[no-untyped-call]
        summed = summed + send(Channel.CUT_GRADIENTS, gradient_of(leaf), None)
        total += float(loss.detach())
        if task == 0:
            correct = int((logits.argmax(1) == target).sum())
    server.step()
    backward(smashed, summed)
    client.step()
    return Score(total, correct)
