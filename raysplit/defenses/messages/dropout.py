"""Dropout of smashed data."""

from __future__ import annotations

import torch

from raysplit.defenses.messages.message_defense import DefenseView, SmashedDefense
from raysplit.errors import ScenarioError
from raysplit.parts.part import part


@part
class SmashedDropout(SmashedDefense):
    """z′ = z ∘ m / (1 − p), every element of m 0 with probability p = ``share``, else 1, drawn anew for every message.

    Unlike a dropout layer it also drops where the model is evaluated or in use: messages are protected there too. The
    client learns by ∂L/∂z = ∂L/∂z′ ∘ m / (1 − p). What is dropped is sent as zeros, of full size. Source: He et al. 2021
    (IEEE IoT-J 8(12)), section V.
    """

    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ScenarioError(f"SmashedDropout.share must lie between 0 and 1, but it is {self.share}")

    def sent(self, z: torch.Tensor, view: DefenseView) -> torch.Tensor:
        kept = torch.rand(z.shape, generator=view.draw, dtype=torch.float64) >= self.share
        return z * (kept.to(z) / (1 - self.share))
