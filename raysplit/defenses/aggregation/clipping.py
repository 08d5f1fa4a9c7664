"""Clipping every update to a length before a rule (as ByzFL's ``Clipping``); ``NormClipping`` is the same with a mean after it."""

from __future__ import annotations

from typing import Literal

import torch

from raysplit.defenses.aggregation.aggregation import RoundContext
from raysplit.defenses.aggregation.composed import Mixed
from raysplit.defenses.aggregation.geometry import lower_median, row_norms
from raysplit.errors import ScenarioError
from raysplit.parts import part


@part
class Clipping:
    """y_i = u_i min(1, C/‖u_i‖).

    ``bound`` is C: a number, or ``"median"`` for the median of this cohort's norms (the lower one of an even number). The rule
    that follows is told the same weights and counts. Rows that are not finite become zero.

    Records ``bound`` (C) and ``clipped``, the number of rows that were scaled down.
    """

    bound: float | Literal["median"] = "median"

    def __post_init__(self) -> None:
        if isinstance(self.bound, float) and not self.bound > 0:
            raise ScenarioError(f"Clipping.bound must be above 0, but it is {self.bound}")

    @property
    def columnwise(self) -> bool:
        return False

    def mix(self, updates: torch.Tensor, weights: torch.Tensor, context: RoundContext) -> Mixed:
        norms = row_norms(updates)
        norms = norms.masked_fill(~norms.isfinite(), torch.inf)
        bound = lower_median(norms) if self.bound == "median" else float(self.bound)
        record = {"bound": bound, "clipped": float((norms > bound).sum())}
        members = torch.eye(updates.shape[0], dtype=torch.bool)
        return Mixed(clipped_rows(updates, norms, bound), weights, context, members, record)


def clipped_rows(updates: torch.Tensor, norms: torch.Tensor, bound: float) -> torch.Tensor:
    """The rows cut to length ``bound``, [n, d], a new matrix; rows with an infinite one of ``norms``, [n], become zero.

    A row no longer than ``bound`` keeps its bits.
    """
    rows = updates.clone()
    for i, norm in enumerate(norms.tolist()):
        if norm == torch.inf:
            rows[i] = 0
        elif norm > bound:
            rows[i] *= bound / norm
    return rows
