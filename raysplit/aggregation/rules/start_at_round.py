"""A rule that the server turns on in a round; before it, the mean. Scenarios that differ by rule alone then share their
first rounds."""

from __future__ import annotations

import torch

from raysplit.aggregation.rule import Aggregate, AggregationRule, RoundContext, roots_of
from raysplit.aggregation.rules.mean import Mean
from raysplit.errors import ScenarioError
from raysplit.parts.part import part, within


@part
class StartAtRound:
    """``rule`` from round ``start_round`` (1-based) on, the mean in the rounds before.

    The tables name the rule that acts in a round. Root clients train, and the rule remembers, from ``start_round`` on.
    The defence's counterpart of ``Scheduled`` for attacks: with both starting late, training up to there is one for all
    attacks, rules and shares of malicious clients (``prefix.py``). Raises ScenarioError for a rule that is itself
    deferred.
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

    @property
    def roots(self) -> tuple[int, ...]:
        """The root clients of ``rule``."""
        return roots_of(self.rule)

    def aggregate(self, updates: torch.Tensor, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        return rule_in_force(self, context.round).aggregate(updates, weights, context)


def rule_in_force(rule: AggregationRule, round: int) -> AggregationRule:
    """The rule that aggregates in a round: itself, or what a deferral says."""
    if isinstance(rule, StartAtRound):
        return rule.rule if round >= rule.start_round else Mean()
    return rule
