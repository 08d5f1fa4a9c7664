"""How a received gradient becomes the gradients on which a client portion's optimiser steps.

One rule a file that wants another; a rule is given to the host and called once a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from raysplit.channels.hooks import AnsweredStep, PartyEnd
from raysplit.channels.message import StepAddress
from raysplit.training.optimizers import Gradients
from raysplit.training.parties import ClientSlot, backward


@dataclass(frozen=True, slots=True)
class BackwardPass:
    """One batch whose forward pass is done.

    ``x`` [B, …], ``y`` [B]: the batch. ``output``: what the client portion made of it, with its graph: smashed data
    [B, …], or the mean loss where the whole model is the client's. ``received``: ∂L/∂output, per sample and of the mean
    loss, as the client got it; None for the loss. U-shaped, the gradients of the tail are with its parameters already,
    taken at ``features`` [B, …] as the client got them. Where the head is frozen ``output`` has no graph. ``address``:
    whose split step it is; None where the whole model is the client's.
    """

    x: torch.Tensor
    y: torch.Tensor
    output: torch.Tensor
    received: torch.Tensor | None = None
    features: torch.Tensor | None = None
    address: StepAddress | None = None


class GradientRule(Protocol):
    def gradients(self, portion: ClientSlot, batch: BackwardPass) -> Gradients:
        """A gradient for each of ``portion.flat.trainable``, in their order; None where none reached a parameter."""
        ...


@dataclass(frozen=True)
class MeanGradient:
    """The gradient of the batch's mean loss: g = Σ_i ∂L/∂z_i · ∂z_i/∂W, by one backward pass."""

    def gradients(self, portion: ClientSlot, batch: BackwardPass) -> Gradients:
        backward(batch.output, batch.received)
        return portion.gradients


@dataclass(frozen=True)
class JudgedGradient:
    """What ``rule`` gives where detectors at the clients' ``end`` have nothing against the cut gradients that came
    back; where one has, none reaches any parameter, so the client portion stays as it is."""

    rule: GradientRule
    end: PartyEnd

    def gradients(self, portion: ClientSlot, batch: BackwardPass) -> Gradients:
        gradients = self.rule.gradients(portion, batch)
        if batch.received is None or batch.address is None:
            return gradients
        if self.end.judge_answer(AnsweredStep(batch.address, batch.y, batch.received, gradients)):
            return gradients
        return [None] * len(gradients)
