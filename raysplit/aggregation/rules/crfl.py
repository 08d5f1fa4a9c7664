"""CRFL: clip the global model and add noise after any rule (Xie et al., ICML 2021, algorithm 1)."""

from __future__ import annotations

import torch

from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.rule import Aggregate, AggregationPart, AggregationRule, GeometryRule, RoundContext, apply
from raysplit.aggregation.rules.mean import Mean
from raysplit.errors import ScenarioError
from raysplit.parts.part import part, within


@part
class CRFL(GeometryRule):
    """AGR(U) = W' min(1, ρ_t/‖W'‖) + N(0, σ² I) - W with W' = W + rule(U), where W are the global parameters and t is
    the round.

    ``rule`` comes first (the paper's is the mean); ρ_t = ``bound`` + ``growth``·t is the norm that the model may have,
    ``noise`` is σ. In a split model W is the client portion alone, so the bound is the portion's. The paper's
    certificate also smooths the model when it is tested and adds no noise after the last round; neither is done here,
    so nothing is certified. Under ``FedOpt`` the clipped model is what the optimiser steps towards. Rows that are not
    finite weigh nothing in ``rule``: no bound would hold a norm that is no number.

    Records what ``rule`` records, and ``bound`` (ρ_t) and ``model_norm`` (‖W'‖). Written from descriptions of the
    algorithm; the paper was not at hand. Raises ScenarioError where the global portion is not given.

    >>> import torch
    >>> from raysplit import CRFL
    >>> updates = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0], [50.0, -50.0]])
    >>> CRFL(bound=3.0, noise=0.0)(updates, portion=torch.zeros(2))
    tensor([ 2.4298, -1.7595])
    """

    bound: float
    rule: AggregationRule = Mean()
    growth: float = 0.0
    noise: float = 0.01

    def __post_init__(self) -> None:
        if not self.bound > 0:
            raise ScenarioError(f"CRFL.bound must be above 0, but it is {self.bound}")
        within("CRFL.growth", self.growth, 0)
        within("CRFL.noise", self.noise, 0)

    def parts(self) -> tuple[AggregationPart, ...]:
        return (self.rule,)

    def over(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        if context.portion is None:
            raise ScenarioError(
                "CRFL needs the global portion, which a fed server gives; outside a simulation give portion="
            )
        inner = apply(self.rule, geometry, self._finite(geometry, weights), context)
        portion = context.portion.to(inner.update)
        model = portion + inner.update
        bound, norm = self.bound + self.growth * context.round, float(model.double().norm())
        if norm > bound:
            model = model * (bound / norm)
        if self.noise:
            model = model + torch.from_numpy(context.rng.standard_normal(model.shape[0]) * self.noise).to(model)
        record = {**inner.record, "bound": bound, "model_norm": norm}
        return Aggregate(model - portion, record, inner.selected, inner.memory)

    @staticmethod
    def _finite(geometry: Geometry, weights: torch.Tensor) -> torch.Tensor:
        """``weights``, [n], with 0 for rows that are not finite: no bound holds a norm that is no number."""
        present = geometry.norms.isfinite()
        if bool(present.all()):
            return weights
        kept = weights * present.to(weights)
        return kept / kept.sum().clamp_min(torch.finfo(kept.dtype).tiny)
