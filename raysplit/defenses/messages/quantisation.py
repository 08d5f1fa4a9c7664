"""Smashed data in few bits."""

from __future__ import annotations

import math
from typing import Literal

import torch

from raysplit.defenses.messages.message_defense import DefenseView, SmashedDefense
from raysplit.errors import ScenarioError
from raysplit.parts.part import part


@part
class Quantisation(SmashedDefense):
    """z′_i = l + s · ⌊(z_i − l)/s⌉, l the smallest element of the sample z_i and s = (max − l)/(2^``bits`` − 1).

    ``rounding="stochastic"``: up with the probability that makes z′ unbiased, drawn anew for every message. The gradient
    is straight-through: ∂L/∂z = ∂L/∂z′. A sample of d elements takes d · ``bits`` bits and two floats, l and s.
    """

    bits: int
    rounding: Literal["nearest", "stochastic"] = "nearest"

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 16:
            raise ScenarioError(f"Quantisation.bits must be from 1 to 16, but it is {self.bits}")

    def sample_bytes(self, floats: int, float_bytes: int) -> int:
        return math.ceil(floats * self.bits / 8) + 2 * float_bytes

    def sent(self, z: torch.Tensor, view: DefenseView) -> torch.Tensor:
        rows = z.detach().flatten(1)
        if not rows.numel():
            return z
        least, most = rows.min(1, keepdim=True).values, rows.max(1, keepdim=True).values
        step = (most - least) / (2**self.bits - 1)
        level = (rows - least) / torch.where(step > 0, step, torch.ones_like(step))
        if self.rounding == "stochastic":
            level = (level + torch.rand(level.shape, generator=view.draw, dtype=torch.float64).to(level)).floor()
        else:
            level = level.round()
        made = least + step * level.clamp(0, 2**self.bits - 1)
        return made.view(z.shape) + (z - z.detach())
