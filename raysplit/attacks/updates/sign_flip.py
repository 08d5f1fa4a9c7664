"""Sign flipping (Li et al., RSA, AAAI 2019)."""

from __future__ import annotations

import math
from typing import ClassVar

from raysplit.aggregation.update_attack import Poison, UpdateAttack, UpdateView, check_start_round, updates_threat
from raysplit.channels.channel import ThreatModel
from raysplit.errors import ScenarioError
from raysplit.parts.part import part


@part
class SignFlip(UpdateAttack):
    """Every malicious client i sends -``scale``·u_i, its own honest update turned round; it needs to see nobody else's.

    It means something for updates, not for whole weights.

    >>> import torch
    >>> from raysplit import SignFlip
    >>> honest = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0]])
    >>> SignFlip()(honest, m=1)
    tensor([[-1., -2.]])
    """

    scale: float = 1.0
    start_round: int = 1
    shardable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_start_round("SignFlip", self.start_round)
        if not (0 < self.scale < math.inf):
            raise ScenarioError(f"SignFlip.scale must be above 0 and finite, but it is {self.scale}")

    @property
    def threat_model(self) -> ThreatModel:
        return updates_threat("partial")

    def poison(self, view: UpdateView) -> Poison:
        return Poison(-self.scale * view.own)
