"""A rule that the server switches on in a round; before it, the mean. Scenarios that differ by rule alone then share
their first rounds."""

from __future__ import annotations

import torch

from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.rule import Aggregate, AggregationPart, AggregationRule, RoundContext, apply
from raysplit.aggregation.rules.mean import Mean
from raysplit.errors import ScenarioError
from raysplit.parts.part import part, within


@part
class StartAtRound(AggregationRule):
    """``rule`` from round ``start_round`` (1-based) on, the mean in the rounds before.

    The tables name the rule that acts in a round. Root clients train, and the rule remembers, from ``start_round`` on.
    The defence's counterpart of ``Scheduled`` for attacks: with both starting late, training up to there is one for all
    attacks, rules and shares of malicious clients (``simulation/shared_rounds.py``). Raises ScenarioError for a rule that is itself
    deferred.

    >>> import torch
    >>> from raysplit import Median, StartAtRound
    >>> updates = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0], [50.0, -50.0]])
    >>> StartAtRound(Median(), start_round=3)(updates, round=3)
    tensor([2., 2.])
    """

    rule: AggregationRule
    start_round: int

    def __post_init__(self) -> None:
        within("StartAtRound.start_round", self.start_round, 1)
        if isinstance(self.rule, StartAtRound):
            raise ScenarioError("StartAtRound.rule is itself StartAtRound; give the rule, and one start_round")

    @property
    def columnwise(self) -> bool:
        return self.rule.columnwise  # and so is the mean

    def parts(self) -> tuple[AggregationPart, ...]:
        return (self.rule,)

    def in_force(self, round: int) -> AggregationRule:
        return self.rule if round >= self.start_round else Mean()

    def needs_whole_updates(self) -> str | None:
        return self.rule.needs_whole_updates()

    def aggregate(self, updates: torch.Tensor, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        return apply(self.in_force(context.round), Geometry.of(updates), weights, context)
