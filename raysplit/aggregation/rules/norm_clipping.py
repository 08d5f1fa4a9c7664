"""Norm clipping with optional noise (Sun et al. 2019, Can you really backdoor federated learning?, section 4)."""

from __future__ import annotations

from typing import Literal

import torch

from raysplit.aggregation.columns import combined
from raysplit.aggregation.geometry import Geometry, finite_or_infinite, lower_median
from raysplit.aggregation.rule import Aggregate, GeometryRule, RoundContext
from raysplit.aggregation.rules.clipping import clipping_to
from raysplit.errors import ScenarioError
from raysplit.parts.part import part, within


@part
class NormClipping(GeometryRule):
    """AGR(U) = Σ_i w_i u_i min(1, C/‖u_i‖) + N(0, s² I).

    ``bound`` is C: a number, or ``"median"`` for the median of this cohort's norms (the lower one of an even number).
    ``noise`` is s, the standard deviation per coordinate of the noise on the aggregate ("weak differential privacy"; it
    has no formal guarantee, and it draws from the round's generator). w are the sample weights. Rows that are not
    finite are left out.

    Records ``bound`` (C) and ``clipped``, the number of rows that were scaled down.

    >>> import torch
    >>> from raysplit import NormClipping
    >>> updates = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0], [50.0, -50.0]])
    >>> NormClipping(bound=3.0)(updates)
    tensor([1.8485, 1.0000])
    """

    bound: float | Literal["median"] = "median"
    noise: float = 0.0

    def __post_init__(self) -> None:
        within("NormClipping.noise", self.noise, 0)
        if isinstance(self.bound, float) and not self.bound > 0:
            raise ScenarioError(f"NormClipping.bound must be above 0, but it is {self.bound}")

    def over(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        norms = finite_or_infinite(geometry.norms)
        bound = lower_median(norms) if self.bound == "median" else float(self.bound)
        scale = clipping_to(norms, bound)
        update = combined(geometry.columns, weights.cpu().double() * scale)
        if self.noise:
            noise = context.rng.standard_normal(len(update)) * self.noise
            update += torch.from_numpy(noise).to(update)
        return Aggregate(update, {"bound": bound, "clipped": float((norms > bound).sum())})
