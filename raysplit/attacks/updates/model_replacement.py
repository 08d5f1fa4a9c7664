"""Model replacement: updates scaled until they survive the averaging (Bagdasaryan et al., AISTATS 2020, section
4.2)."""

from __future__ import annotations

import math
from typing import ClassVar

from raysplit.aggregation.update_attack import (
    Poison,
    UpdateAttack,
    UpdateView,
    check_start_round,
    updates_threat,
)
from raysplit.channels.channel import ThreatModel
from raysplit.errors import ScenarioError
from raysplit.parts.part import part


@part
class ModelReplacement(UpdateAttack):
    """Every malicious client sends ``scale``·x_i, where x_i is its own update, or what ``attack`` would make it send.

    ``scale``: a number, or None for n/m with the n updates and the m malicious ones of this round: an unweighted mean
    is then the mean of the x_i plus 1/n of the sum of the benign updates. (The paper's n/η with one attacker: n counts
    the round's participants, not the population.) Its own updates are honest unless its clients train on poisoned data,
    so by itself it only makes m clients count more; ``attack`` says what shall replace the model. Records what
    ``attack`` records, and ``scale``.

    >>> import torch
    >>> from raysplit import ModelReplacement
    >>> honest = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0]])
    >>> ModelReplacement()(honest, m=1)
    tensor([[ 5., 10.]])
    """

    attack: UpdateAttack | None = None
    scale: float | None = None
    start_round: int = 1
    shardable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_start_round("ModelReplacement", self.start_round)
        if self.scale is not None and not (0 < self.scale < math.inf):
            raise ScenarioError(f"ModelReplacement.scale must be above 0 and finite, but it is {self.scale}")
        if self.attack is not None and self.attack.start_round != 1:
            raise ScenarioError(
                f"ModelReplacement.start_round says when {type(self.attack).__name__} starts; leave the attack's own "
                "start_round out"
            )

    @property
    def threat_model(self) -> ThreatModel:
        return updates_threat("partial") if self.attack is None else self.attack.threat_model

    def parts(self) -> tuple[UpdateAttack, ...]:
        return () if self.attack is None else (self.attack,)

    def poison(self, view: UpdateView) -> Poison:
        inner = Poison(view.own) if self.attack is None else self.attack.poison(view)
        scale = view.n / view.m if self.scale is None else self.scale
        return Poison(inner.rows * scale, {**inner.record, "scale": scale})
