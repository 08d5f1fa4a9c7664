"""The oracle of UnSplit's label inference: weight gradients of the clients' tails, which no message brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from raysplit.training.gradient_rules import BackwardPass, GradientRule, MeanGradient
from raysplit.training.optimizers import Gradients
from raysplit.training.parties import ClientSlot


@dataclass
class TailGradients:
    """A gradient rule that is ``rule``, the scenario's, and writes down what the tail's parameters got of the batch's mean
    loss in the first ``steps`` steps of every client's local round. ``found``: by cohort position and step, then by
    parameter name."""

    steps: int
    rule: GradientRule = field(default_factory=MeanGradient)
    found: dict[tuple[int, int], dict[str, torch.Tensor]] = field(default_factory=dict)

    def gradients(self, portion: ClientSlot, batch: BackwardPass) -> Gradients:
        address = batch.address
        if portion.tail is not None and address is not None and address.step < self.steps:
            self.found[address.position, address.step] = {
                name: parameter.grad.clone()
                for name, parameter in portion.tail.named_parameters()
                if parameter.grad is not None
            }
        return self.rule.gradients(portion, batch)

    def of(self, steps: Sequence[tuple[int, int]]) -> dict[str, torch.Tensor]:
        """By parameter name, [len(steps), …], in the order of ``steps``, each a cohort position and a step."""
        names = self.found[steps[0]]
        return {name: torch.stack([self.found[step][name] for step in steps]) for name in names}
