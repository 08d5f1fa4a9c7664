"""Inner-product manipulation with its factor optimised against the rule in place ("optimal IPM" of ByzFL; Allouah et
al. 2023)."""

from __future__ import annotations

from typing import ClassVar, Literal

from raysplit.aggregation.update_attack import Poison, UpdateAttack, UpdateView, check_start_round, updates_threat
from raysplit.attacks.updates.line_search import check_search, line_search
from raysplit.attacks.updates.simulated_aggregation import SimulatedAggregation
from raysplit.channels.channel import ThreatModel
from raysplit.parts.part import part


@part
class OptimalInnerProductManipulation(UpdateAttack):
    """Every malicious client sends v = -ε·μ with the ε that a line search finds to move the rule farthest from μ.

    argmax_ε ‖AGR({v}^m ∪ B) - μ‖₂, with ``evaluations`` calls of the rule in place (simulated_aggregation.py), from ε =
    0 by steps of ``step`` and ``ratio`` (line_search.py); the defaults are ByzFL's. It means something for updates, not
    for whole weights. Records ``gamma`` (ε) and ``objective``.

    >>> import torch
    >>> from raysplit import Mean, OptimalInnerProductManipulation
    >>> honest = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0]])
    >>> OptimalInnerProductManipulation(evaluations=3)(honest, m=1, rule=Mean())
    tensor([[-60., -60.]])
    """

    evaluations: int = 20
    step: float = 10.0
    ratio: float = 0.8
    knowledge: Literal["full", "partial"] = "full"
    start_round: int = 1
    shardable: ClassVar[bool] = True
    simulates_rule: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_start_round("OptimalInnerProductManipulation", self.start_round)
        check_search("OptimalInnerProductManipulation", self.evaluations, self.step, self.ratio)

    @property
    def threat_model(self) -> ThreatModel:
        return updates_threat(self.knowledge)

    def poison(self, view: UpdateView) -> Poison:
        trial = SimulatedAggregation.of(view, self.knowledge, "OptimalInnerProductManipulation")
        epsilon, damage = line_search(
            lambda e: trial.damage(-e * trial.mean), 0.0, self.step, self.ratio, self.evaluations
        )
        return Poison((-epsilon * trial.mean).expand(view.m, -1), {"gamma": epsilon, "objective": damage})
