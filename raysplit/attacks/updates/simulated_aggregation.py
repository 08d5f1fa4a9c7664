"""The aggregation by the rule in place, simulated by an adversary before it sends anything."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from raysplit import rng
from raysplit.aggregation.across import ALL, Across
from raysplit.aggregation.columns import Kernel, added
from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.order_statistics import column_blocks, mean_std
from raysplit.aggregation.rule import AggregationRule, RoundContext, apply
from raysplit.aggregation.update_attack import UpdateView, visible_honest
from raysplit.errors import ScenarioError


@dataclass(frozen=True, eq=False)
class Stack:
    """``m`` clones of ``row``, [d], and below them the ``honest`` rows, [n_h, d]: put together block by block and never
    kept (``Columns``)."""

    row: torch.Tensor
    m: int
    honest: torch.Tensor

    @property
    def shape(self) -> tuple[int, int]:
        n, d = self.honest.shape
        return self.m + n, d

    def total(self, kernel: Kernel, *vectors: torch.Tensor) -> torch.Tensor:
        return added(part.cpu() for _, part in self._parts(kernel, vectors))

    def map(self, kernel: Kernel, *vectors: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor | None = None
        for columns, part in self._parts(kernel, vectors):
            if result is None:
                result = part.new_empty(*part.shape[:-1], self.shape[1])
            result[..., columns] = part
        assert result is not None
        return result

    def _parts(self, kernel: Kernel, vectors: tuple[torch.Tensor, ...]) -> Iterator[tuple[slice, torch.Tensor]]:
        """What the kernel makes of each block, gone with the next one."""
        rows = self.honest.new_empty(0, 0)
        for columns in column_blocks(self.honest):
            shape = self.shape[0], columns.stop - columns.start
            if rows.shape != shape:
                rows = self.honest.new_empty(shape)
            rows[: self.m], rows[self.m :] = self.row[columns], self.honest[:, columns]
            yield columns, kernel(rows, *(vector[..., columns] for vector in vectors))


@dataclass(frozen=True)
class SimulatedAggregation:
    """The cohort that the adversary assumes: m clones, and below them the ``honest`` rows it sees, [n - m, d].

    Full knowledge: this very cohort, with what the rule knows of it, its memory and reference too (an upper bound).
    Partial knowledge: its own honest updates beside m' = max(1, ⌊m²/n⌋) clones, and their mean as the reference. All
    rows weigh the same, and a rule that draws at random draws the same in every simulation, but not what it will draw
    at the server.
    """

    rule: AggregationRule
    honest: torch.Tensor
    m: int
    mean: torch.Tensor
    std: torch.Tensor
    context: RoundContext
    across: Across = ALL

    @staticmethod
    def of(view: UpdateView, knowledge: Literal["full", "partial"], attack: str) -> SimulatedAggregation:
        """Raises ScenarioError as ``visible_honest`` does."""
        honest = visible_honest(view, knowledge, attack)
        mean, std = mean_std(honest)
        m = view.m if knowledge == "full" else max(1, view.m**2 // view.n)
        n = m + honest.shape[0]
        context = view.context or RoundContext(view.round, np.arange(n), m, m, view.rng)
        if knowledge == "partial":
            reference = mean if view.rule.roots else None
            context = replace(context, clients=np.arange(n), assumed=m, actual=m, reference=reference)
        return SimulatedAggregation(view.rule, honest, m, mean, std, context, view.across)

    def damage(self, row: torch.Tensor) -> float:
        """‖AGR({row}^m ∪ honest) - μ‖₂ with μ the honest mean; ``row``: [d]. Raises ScenarioError where the rule cannot
        take the cohort."""
        stack = Stack(row, self.m, self.honest)
        n, _ = stack.shape
        weights = torch.full((n,), 1 / n, dtype=self.honest.dtype)
        simulated_context = replace(self.context, rng=rng.stream(0, "rehearsal", self.context.round))
        try:
            update = apply(self.rule, Geometry(stack), weights, simulated_context).update
        except ScenarioError as error:
            raise ScenarioError(
                f"{type(self.rule).__name__} cannot be simulated on the {n} updates that the adversary reckons with "
                f"in round {self.context.round}: {error}"
            ) from None
        return math.sqrt(self.across.square(update - self.mean))
