"""NoPeek: a client portion that is trained to let its smashed data tell little of its inputs."""

from __future__ import annotations

import math

import torch

from raysplit.defenses.messages.distance_correlation import distance_correlation
from raysplit.defenses.messages.message_defense import LossDefense
from raysplit.errors import ScenarioError
from raysplit.parts.part import part


@part
class NoPeek(LossDefense):
    """A client's loss is L + ``weight`` · dCor(x, z), dCor the distance correlation of a batch's inputs x and smashed data
    z, with the square root (``distance_correlation``).

    L is what the main server's cut gradients stand for, the mean cross-entropy; (1 − α)·L + α·dCor of other papers is
    ``weight`` = α/(1 − α) at a learning rate 1 − α as large. A batch of one sample has no term; 32 or more are advised.
    It acts in training alone: what the model sends in use follows from its weights. Source: Vepakomma, Singh, Gupta,
    Raskar 2020, "NoPeek", ICDMW, arXiv 2008.09161.
    """

    weight: float

    def __post_init__(self) -> None:
        if not 0 < self.weight < math.inf:
            raise ScenarioError(f"NoPeek.weight must be above 0 and finite, but it is {self.weight}")

    def term(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return self.weight * distance_correlation(x.to(z.dtype), z)
