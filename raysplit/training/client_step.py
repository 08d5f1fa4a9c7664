"""A client's step on one batch: it yields the messages that it sends and is given those that it gets.

reference/split-learning.md 1.1 and 1.3. Smashed data are a new leaf on the server's side; gradients are per sample and
point to point. A step knows its own channels and nothing of hosts, hooks, order or Ray: whoever drives it takes each
message to the main server and sends the answer in, so that several steps can be under way at once.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

import torch
from torch.nn import functional

from raysplit.channels.channel import Channel
from raysplit.channels.message import Message, Score, StepAddress
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.training.gradient_rules import BackwardPass, GradientRule
from raysplit.training.parties import ClientSlot, score_of

ClientStep = Generator[Message | None, Message, Score | None]
"""Sends messages and receives what the main server sends; yields None where it waits for one more message without
sending. It ends with the batch's score, None where it is unknown."""


class SplitStepOf(Protocol):
    """What a client does with a batch; its step is begun at ``address`` on a slot that holds its portion."""

    requests: int
    """How many messages the client sends to the main server in one step."""

    def __call__(
        self, slot: ClientSlot, x: torch.Tensor, y: torch.Tensor, address: StepAddress, rule: GradientRule | None
    ) -> ClientStep:
        """``rule=None``: the client portion stays as it is."""
        ...


class VanillaStep:
    """Smashed data and labels go out, cut gradients come back."""

    requests = 1

    def __call__(
        self, slot: ClientSlot, x: torch.Tensor, y: torch.Tensor, address: StepAddress, rule: GradientRule | None
    ) -> ClientStep:
        z = slot.forward(x)
        cut_gradients = yield address.message(Channel.SMASHED, z.detach(), y)
        if rule is not None:
            slot.step(rule.gradients(slot, BackwardPass(x, y, z, cut_gradients.tensor, None, address)))
        return cut_gradients.score


class UShapedStep:
    """Smashed data go out and features come back, the tail's gradient goes out and cut gradients come back."""

    requests = 2

    def __call__(
        self, slot: ClientSlot, x: torch.Tensor, y: torch.Tensor, address: StepAddress, rule: GradientRule | None
    ) -> ClientStep:
        z = slot.forward(x)
        features = yield address.message(Channel.SMASHED, z.detach())
        gradient, score = slot.tail_pass(features.tensor, y)
        cut_gradients = yield address.message(Channel.FEATURE_GRADIENTS, gradient)
        if rule is not None:
            batch = BackwardPass(x, y, z, cut_gradients.tensor, features.tensor, address)
            slot.step(rule.gradients(slot, batch))
        return score


def client_step_of(protocol: TrainingProtocol) -> SplitStepOf:
    """What a client of a protocol does with a batch."""
    return UShapedStep() if protocol.u_shaped else VanillaStep()


def whole_step(slot: ClientSlot, x: torch.Tensor, y: torch.Tensor, rule: GradientRule) -> Score:
    """A client that holds the whole model: forward, loss, gradients by ``rule``, step."""
    logits = slot.forward(x)
    loss = functional.cross_entropy(logits, y)
    slot.step(rule.gradients(slot, BackwardPass(x, y, loss)))
    return score_of(loss, logits, y)
