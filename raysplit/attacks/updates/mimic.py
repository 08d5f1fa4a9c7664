"""Mimic: all malicious clients copy one honest client (Karimireddy, He & Jaggi, ICLR 2022)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch

from raysplit.aggregation.gram import gram_over
from raysplit.aggregation.order_statistics import mean_std
from raysplit.aggregation.update_attack import (
    Poison,
    UpdateAttack,
    UpdateView,
    check_start_round,
    updates_threat,
    visible_honest,
)
from raysplit.channels.channel import ThreatModel
from raysplit.errors import ScenarioError
from raysplit.parts.part import part, within


@part
class Mimic(UpdateAttack):
    """Every malicious client sends a copy of one honest update, so that this one counts m + 1 times; no rule can tell
    it from honest ones.

    ``target``: ``"spread"`` copies the update that lies farthest from the mean along the direction z in which the
    honest updates differ most, argmax_i |⟨z, b_i - μ⟩| with z the first principal direction; a number copies that row
    of the honest updates that are seen, from 0, as in ByzFL. The published heuristic fixes z and the client in some
    warm-up rounds; an attack here remembers nothing, so both are chosen anew from each round's cohort. Records
    ``target``. Raises ScenarioError where there is no such row.

    >>> import torch
    >>> from raysplit import Mimic
    >>> honest = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0]])
    >>> Mimic(target=2)(honest, m=2)
    tensor([[3., 3.],
            [3., 3.]])
    """

    target: Literal["spread"] | int = "spread"
    knowledge: Literal["full", "partial"] = "full"
    start_round: int = 1
    shardable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_start_round("Mimic", self.start_round)
        if isinstance(self.target, int):
            within("Mimic.target", self.target, 0)

    @property
    def threat_model(self) -> ThreatModel:
        return updates_threat(self.knowledge)

    def poison(self, view: UpdateView) -> Poison:
        honest = visible_honest(view, self.knowledge, "Mimic")
        if isinstance(self.target, int):
            target = self.target
            if target >= honest.shape[0]:
                raise ScenarioError(
                    f"Mimic(target={target}) counts honest updates from 0, but it sees {honest.shape[0]} in round "
                    f"{view.round}"
                )
        else:
            # ⟨z, b_i - μ⟩ = √λ₁ u₁,i with the first eigenpair of the Gram matrix.
            gram = gram_over(view.across, honest, mean_std(honest)[0]).cpu()
            target = int(torch.linalg.eigh(gram).eigenvectors[:, -1].abs().argmax())
        return Poison(honest[target].expand(view.m, -1), {"target": float(target)})
