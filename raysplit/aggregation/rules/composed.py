"""Pre-aggregations, which turn the updates into others, before a rule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from raysplit.aggregation.columns import MixedColumns, Whole, gathered
from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.plain_tensors import check_answer, check_updates, described, shares
from raysplit.aggregation.rule import (
    Aggregate,
    AggregationPart,
    AggregationRule,
    GeometryRule,
    RoundContext,
    apply,
    plain_context,
)
from raysplit.errors import ScenarioError
from raysplit.parts.contract import contract
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


@contract("a pre-aggregation")
class PreAggregation(AggregationPart, ABC):
    """The contract of steps before a rule: a frozen dataclass derives from it and gives ``mix``, which changes none of
    its arguments."""

    @abstractmethod
    def mix(self, updates: torch.Tensor, weights: torch.Tensor, context: RoundContext) -> Mixed:
        """``updates``: [n, d]; ``weights``: [n], summing to 1."""

    def least_updates(self, rows: int) -> int:
        """At least how many updates it needs to make ``rows`` rows of them."""
        return rows

    def needs_whole_updates(self) -> str | None:
        return f"{type(self).__name__} has no mixing() (docs/how-to/defense.md), so it needs whole updates in one place"

    def __call__(
        self,
        updates: torch.Tensor,
        *,
        weights: torch.Tensor | Sequence[float] | None = None,
        round: int = 1,
        seed: int = 0,
    ) -> torch.Tensor:
        """The rows [b, d] that it makes of plain ``updates`` [n, d], without a simulator; the arguments are those of
        ``AggregationRule``."""
        name = type(self).__name__
        check_updates(name, updates)
        context = plain_context(self, len(updates), round, seed)
        mixed = self.mix(updates, shares(name, weights, updates), context)
        check_mixed(f"{name}.mix()", Mixed, mixed, *updates.shape)
        return mixed.updates


@contract("a pre-aggregation")
class LinearPreAggregation(PreAggregation):
    """A pre-aggregation whose rows are linear in the updates: all of the tree. It gives ``mixing`` instead of ``mix``,
    and the rows are made a block of columns at a time."""

    def mix(self, updates: torch.Tensor, weights: torch.Tensor, context: RoundContext) -> Mixed:
        return self.mixing(Geometry.of(updates), weights, context).of(updates)

    @abstractmethod
    def mixing(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Mixing:
        """What ``mix`` returns for the updates with this ``geometry``, as a matrix that is not applied yet."""

    def needs_whole_updates(self) -> str | None:
        return AggregationPart.needs_whole_updates(self)


def check_mixed(name: str, kind: type[Mixed] | type[Mixing], given: object, n: int, d: int) -> None:
    """Raise ``ScenarioError`` unless ``given`` is of its ``kind`` and can be made of n updates of d numbers; ``name``:
    who gave it."""
    if not isinstance(given, Mixed | Mixing) or not isinstance(given, kind):
        raise ScenarioError(f"{name} must return a {kind.__name__}, but it returned {described(given)}")
    field_name, rows = ("updates", given.updates) if isinstance(given, Mixed) else ("matrix", given.matrix)
    what, b = f"{name} must return {kind.__name__}", len(rows) if isinstance(rows, torch.Tensor) and rows.ndim else 1
    check_answer(f"{what}.{field_name}", rows, (b, d if isinstance(given, Mixed) else n))
    check_answer(f"{what}.weights", given.weights, (b,))
    members = given.members
    if not isinstance(members, torch.Tensor) or members.dtype != torch.bool or tuple(members.shape) != (b, n):
        raise ScenarioError(f"{what}.members as a bool tensor [{b}, {n}], but it is {described(members)}")


@part
class Composed(GeometryRule):
    """AGR(U) = rule(pre_k(… pre_1(U))): ``rule`` applied to what the pre-aggregations ``pre`` make of the updates, in
    order.

    The rule's own record is kept, with those of the pre-aggregations beside it, and ``broken`` where any of them says
    so. A client counts as ``selected`` where any row that the rule selected holds a share of its update.

    >>> import torch
    >>> from raysplit import Composed, Median, NearestNeighbourMixing
    >>> updates = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0], [50.0, -50.0]])
    >>> Composed((NearestNeighbourMixing(f=1),), Median())(updates)
    tensor([2., 2.])
    """

    pre: tuple[PreAggregation, ...]
    rule: AggregationRule

    @property
    def columnwise(self) -> bool:
        return self.rule.columnwise and all(step.columnwise for step in self.pre)

    def parts(self) -> tuple[AggregationPart, ...]:
        return (*self.pre, self.rule)

    def least_clients(self, f: int) -> int:
        least = self.rule.least_clients(f)
        for step in reversed(self.pre):
            least = max(step.least_clients(f), step.least_updates(least))
        return least

    def over(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        record: dict[str, float] = {}
        broken = False  # more malicious clients than any one step withstands are more than the whole does
        members = torch.eye(geometry.shape[0], dtype=torch.bool)
        for step in self.pre:
            mixed: Mixed | Mixing
            if isinstance(step, LinearPreAggregation):
                mixed = step.mixing(geometry, weights, context)
                check_mixed(f"{type(step).__name__}.mixing()", Mixing, mixed, *geometry.shape)
                geometry = Geometry(MixedColumns(geometry.columns, mixed.matrix))
            else:
                mixed = step.mix(gathered(geometry.columns), weights, context)
                check_mixed(f"{type(step).__name__}.mix()", Mixed, mixed, *geometry.shape)
                geometry = Geometry.of(mixed.updates)
            weights, context = mixed.weights, mixed.context
            members = (mixed.members.double() @ members.double()) > 0
            record.update(mixed.record)
            broken |= bool(mixed.record.get("broken"))
        result = apply(self.rule, geometry, weights, context)
        record.update(result.record)
        if broken:
            record["broken"] = 1.0
        selected = None if result.selected is None else members[result.selected.cpu()].any(0)
        return Aggregate(result.update, record, selected, result.memory)
