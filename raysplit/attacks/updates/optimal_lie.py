"""A little is enough with its factor optimised against the rule in place ("optimal ALIE" of ByzFL; Allouah et al.
2023)."""

from __future__ import annotations

from typing import ClassVar, Literal

from raysplit.aggregation.update_attack import Poison, UpdateAttack, UpdateView, check_start_round, updates_threat
from raysplit.attacks.updates.line_search import check_search, line_search
from raysplit.attacks.updates.simulated_aggregation import SimulatedAggregation
from raysplit.channels.channel import ThreatModel
from raysplit.parts.part import part


@part
class OptimalLittleIsEnough(UpdateAttack):
    """Every malicious client sends v = μ + ``sign``·z·σ with the z that a line search finds to move the rule farthest
    from μ.

    argmax_z ‖AGR({v}^m ∪ B) - μ‖₂, with ``evaluations`` calls of the rule in place (simulated_aggregation.py), from z =
    0 by steps of ``step`` and ``ratio`` (line_search.py); the defaults are ByzFL's, but for its ``sign``, which is +1.
    Records ``gamma`` (z) and ``objective``.

    >>> import torch
    >>> from raysplit import Krum, OptimalLittleIsEnough
    >>> honest = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0]])
    >>> OptimalLittleIsEnough()(honest, m=1, rule=Krum(f=1))
    tensor([[1.1233, 1.1233]])
    """

    sign: Literal[-1, 1] = -1
    evaluations: int = 20
    step: float = 10.0
    ratio: float = 0.8
    knowledge: Literal["full", "partial"] = "full"
    start_round: int = 1
    shardable: ClassVar[bool] = True
    simulates_rule: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_start_round("OptimalLittleIsEnough", self.start_round)
        check_search("OptimalLittleIsEnough", self.evaluations, self.step, self.ratio)

    @property
    def threat_model(self) -> ThreatModel:
        return updates_threat(self.knowledge)

    def poison(self, view: UpdateView) -> Poison:
        trial = SimulatedAggregation.of(view, self.knowledge, "OptimalLittleIsEnough")
        p = self.sign * trial.std
        z, damage = line_search(
            lambda z: trial.damage(trial.mean + z * p), 0.0, self.step, self.ratio, self.evaluations
        )
        return Poison((trial.mean + z * p).expand(view.m, -1), {"gamma": z, "objective": damage})
