"""Clipping every update to a length before a rule (as ByzFL's ``Clipping``); ``NormClipping`` is the same with a mean
after it."""

from __future__ import annotations

from typing import Literal

import torch

from raysplit.aggregation.geometry import Geometry, finite_or_infinite, lower_median
from raysplit.aggregation.rule import RoundContext
from raysplit.aggregation.rules.composed import LinearPreAggregation, Mixing
from raysplit.errors import ScenarioError
from raysplit.parts.part import part


@part
class Clipping(LinearPreAggregation):
    """y_i = u_i min(1, C/‖u_i‖).

    ``bound`` is C: a number, or ``"median"`` for the median of this cohort's norms (the lower one of an even number).
    The rule that follows gets the same weights and counts. Rows that are not finite become zero.

    Records ``bound`` (C) and ``clipped``, the number of rows that were scaled down.

    >>> import torch
    >>> from raysplit import Clipping
    >>> updates = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0], [50.0, -50.0]])
    >>> Clipping(bound=3.0)(updates)[-1]
    tensor([ 2.1213, -2.1213])
    """

    bound: float | Literal["median"] = "median"

    def __post_init__(self) -> None:
        if isinstance(self.bound, float) and not self.bound > 0:
            raise ScenarioError(f"Clipping.bound must be above 0, but it is {self.bound}")

    def mixing(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Mixing:
        norms = finite_or_infinite(geometry.norms)
        bound = lower_median(norms) if self.bound == "median" else float(self.bound)
        record = {"bound": bound, "clipped": float((norms > bound).sum())}
        members = torch.eye(geometry.shape[0], dtype=torch.bool)
        return Mixing(clipping_to(norms, bound).diag(), weights, context, members, record)


def clipping_to(norms: torch.Tensor, bound: float) -> torch.Tensor:
    """By how much rows of these ``norms``, [n], are scaled so that none is longer than ``bound``, [n]; 0 for infinite
    ones.

    A row no longer than ``bound`` keeps its bits.
    """
    return torch.where(norms > bound, bound / norms, torch.ones_like(norms)).masked_fill_(norms.isinf(), 0)
