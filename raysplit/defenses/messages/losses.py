"""A gradient rule that adds terms to a client's loss."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch

from raysplit.defenses.messages.message_defense import LossDefense, checked
from raysplit.training.gradient_rules import BackwardPass, GradientRule
from raysplit.training.optimizers import Gradients
from raysplit.training.parties import ClientSlot


@dataclass(frozen=True)
class AddedLoss:
    """What ``rule`` gives for L + Σ terms: terms depend on a batch's inputs and smashed data z alone, so that ∂term/∂z is
    added to the received ∂L/∂z before the backward pass through the client portion. ``exempt``: clients that do not
    obey."""

    rule: GradientRule
    terms: Sequence[LossDefense]
    exempt: Collection[int] = ()

    def gradients(self, portion: ClientSlot, batch: BackwardPass) -> Gradients:
        address = batch.address
        if batch.received is None or address is None or address.client in self.exempt:
            return self.rule.gradients(portion, batch)
        received = batch.received
        for defense in self.terms:
            leaf = batch.output.detach().requires_grad_()
            (extra,) = torch.autograd.grad(defense.term(batch.x, leaf), leaf)
            received = received + checked(defense, "term", received, extra)
        return self.rule.gradients(portion, replace(batch, received=received))
