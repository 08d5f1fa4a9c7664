"""Pre-aggregations, which turn the updates into others, before a rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch

from raysplit.aggregation.columns import MixedColumns, Whole, gathered
from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.rule import Aggregate, AggregationRule, RoundContext, aggregate_over, roots_of
from raysplit.parts.part import part


@dataclass(frozen=True)
class Mixed:
    """``updates``: [b, d]; ``weights``: [b]; ``members``: bool [b, n], which of the n rows went into each of the b."""

    updates: torch.Tensor
    weights: torch.Tensor
    context: RoundContext
    members: torch.Tensor
    record: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Mixing:
    """The mixed rows, not made yet. ``matrix``: float64 [b, n], which ``MixedColumns`` reads; the rest is as in
    ``Mixed``."""

    matrix: torch.Tensor
    weights: torch.Tensor
    context: RoundContext
    members: torch.Tensor
    record: dict[str, float] = field(default_factory=dict)

    def of(self, updates: torch.Tensor) -> Mixed:
        """Made of ``updates``, [n, d]."""
        mixed = gathered(MixedColumns(Whole(updates), self.matrix))
        return Mixed(mixed, self.weights, self.context, self.members, self.record)


@runtime_checkable
class PreAggregation(Protocol):
    """A frozen dataclass; ``mix`` changes none of its arguments."""

    @property
    def columnwise(self) -> bool:
        """Whether each coordinate is mixed alone."""
        ...

    def mix(self, updates: torch.Tensor, weights: torch.Tensor, context: RoundContext) -> Mixed:
        """``updates``: [n, d]; ``weights``: [n], summing to 1."""
        ...


@runtime_checkable
class LinearPreAggregation(Protocol):
    """A pre-aggregation whose rows are linear in the updates: all of the tree. The rows are made a block of columns at
    a time."""

    def mixing(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Mixing: ...


@part
class Composed:
    """AGR(U) = rule(pre_k(… pre_1(U))): ``rule`` applied to what the pre-aggregations ``pre`` make of the updates, in
    order.

    The rule's own record is kept, with those of the pre-aggregations beside it, and ``broken`` where any of them says
    so. A client counts as ``selected`` where any row that the rule selected holds a share of its update.
    """

    pre: tuple[PreAggregation, ...]
    rule: AggregationRule

    @property
    def columnwise(self) -> bool:
        return self.rule.columnwise and all(step.columnwise for step in self.pre)

    @property
    def roots(self) -> tuple[int, ...]:
        """The root clients of ``rule``; their clean update reaches it as it is."""
        return roots_of(self.rule)

    def aggregate(self, updates: torch.Tensor, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        return self.over(Geometry.of(updates), weights, context)

    def over(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        record: dict[str, float] = {}
        broken = False  # more liars than any one step can bear are more than the whole can
        members = torch.eye(geometry.shape[0], dtype=torch.bool)
        for step in self.pre:
            mixed: Mixed | Mixing
            if isinstance(step, LinearPreAggregation):
                mixed = step.mixing(geometry, weights, context)
                geometry = Geometry(MixedColumns(geometry.columns, mixed.matrix))
            else:
                mixed = step.mix(gathered(geometry.columns), weights, context)
                geometry = Geometry.of(mixed.updates)
            weights, context = mixed.weights, mixed.context
            members = (mixed.members.double() @ members.double()) > 0
            record.update(mixed.record)
            broken |= bool(mixed.record.get("broken"))
        result = aggregate_over(self.rule, geometry, weights, context)
        record.update(result.record)
        if broken:
            record["broken"] = 1.0
        selected = None if result.selected is None else members[result.selected.cpu()].any(0)
        return Aggregate(result.update, record, selected, result.memory)
