"""Noise on smashed data."""

from __future__ import annotations

import math
from typing import Literal

import torch

from raysplit.defenses.messages.message_defense import DefenseView, SmashedDefense
from raysplit.defenses.privacy.accountant import epsilon
from raysplit.errors import ScenarioError
from raysplit.parts.part import part


@part
class AdditiveNoise(SmashedDefense):
    """z′_i = z_i · min(1, C/‖z_i‖) + ξ_i, element by element ξ ~ N(0, ``scale``²), or Laplace(0, ``scale``).

    C = ``max_norm``, of the ℓ2 norm of a sample's smashed data for Gaussian noise and of its ℓ1 norm for Laplace;
    None: nothing is clipped. **Noise, not differential privacy**: z without a bound can differ by anything, so that
    noise guarantees nothing, and a network in training makes z larger until it is heard again. With a bound,
    ``release_epsilon`` says what is guaranteed. Source: He et al. 2021 (IEEE IoT-J 8(12)), section V, of inference;
    here in training too, where gradients pass the noise as they are and the clipping by the chain rule.
    """

    scale: float
    distribution: Literal["gaussian", "laplace"] = "gaussian"
    max_norm: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("scale", self.scale), ("max_norm", self.max_norm)):
            if value is not None and not 0 < value < math.inf:
                raise ScenarioError(f"AdditiveNoise.{name} must be above 0 and finite, but it is {value}")

    def sent(self, z: torch.Tensor, view: DefenseView) -> torch.Tensor:
        if self.max_norm is not None:
            order = 2 if self.distribution == "gaussian" else 1
            norms = torch.linalg.vector_norm(z.flatten(1), ord=order, dim=1).view(-1, *[1] * (z.dim() - 1))
            z = z * (self.max_norm / norms.clamp_min(self.max_norm))
        return z + self.scale * self._noise(z, view.draw)

    def _noise(self, like: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
        """Of scale 1; drawn in the order of the logical indices and in float64, whatever z's strides and type."""
        if self.distribution == "gaussian":
            noise = torch.randn(like.shape, generator=draw, dtype=torch.float64)
        else:  # the difference of two exponential variables
            one, other = (torch.empty(like.shape, dtype=torch.float64).exponential_(generator=draw) for _ in range(2))
            noise = one - other
        return noise.to(like)

    def release_epsilon(self, releases: int, delta: float) -> float:
        """ε of local differential privacy: how little ``releases`` messages about one input tell which input it was,
        against the main server, with probability 1 − ``delta``. Inputs are bounded by C, so that two differ by 2C at
        most. Every epoch is a release more, and nothing is amplified by sampling: the server sees who takes part.
        Infinite where nothing is clipped. Labels that travel beside are not covered."""
        if self.max_norm is None:
            return math.inf
        multiplier = self.scale / (2 * self.max_norm)
        return (
            releases / multiplier
            if self.distribution == "laplace"
            else epsilon(1.0, multiplier, releases, delta).epsilon
        )
