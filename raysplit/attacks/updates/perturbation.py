"""The directions in which NDSS'21 and Khan et al. 2022 push the mean of the honest updates."""

from __future__ import annotations

import math
from typing import Literal

import torch

from raysplit.aggregation.across import ALL, Across

Perturbation = Literal["std", "sign", "unit"]


def perturb(
    kind: Perturbation, direction: Literal[-1, 1], mean: torch.Tensor, std: torch.Tensor, across: Across = ALL
) -> torch.Tensor:
    """p, [d]: ``direction`` times σ, sign(μ) or μ/‖μ‖; zero where the mean vanishes for ``"sign"`` and ``"unit"``.

    ``across``: which of all columns μ and σ are; the norm is over all.
    """
    if kind == "std":
        return direction * std
    if kind == "sign":
        return direction * mean.sign()
    norm = math.sqrt(across.square(mean))
    return direction * mean / norm if norm > 0 else torch.zeros_like(mean)
