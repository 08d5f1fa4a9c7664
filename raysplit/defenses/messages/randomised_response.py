"""Label differential privacy by randomised response."""

from __future__ import annotations

import math

import torch

from raysplit.defenses.messages.message_defense import DefenseView, LabelDefense
from raysplit.errors import ScenarioError
from raysplit.parts.part import part


@part
class RandomisedResponse(LabelDefense):
    """A label stays with probability e^ε/(e^ε + C − 1), ε = ``epsilon`` and C the number of classes, and is else one of the
    other classes, each as likely.

    **What is guaranteed**: ε-local differential privacy of each training label against everybody, δ = 0. Two labels that
    a sample could have had give any outcome with probabilities at most e^ε apart. A label is drawn once, before the first
    round, and is the same in all of them, so that nothing adds up however long training goes on; all that is learned,
    sent or published follows from it. The inputs are not covered. Source: Warner 1965; Ghazi et al. 2021, "Deep learning
    with label differential privacy", NeurIPS, arXiv 2102.06062, algorithm 1.
    """

    epsilon: float

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < math.inf:
            raise ScenarioError(f"RandomisedResponse.epsilon must be above 0 and finite, but it is {self.epsilon}")

    def stays(self, classes: int) -> float:
        """The probability with which a label stays."""
        return 1 / (1 + (classes - 1) * math.exp(-self.epsilon))

    def released(self, labels: torch.Tensor, view: DefenseView) -> torch.Tensor:
        moved = torch.rand(len(labels), generator=view.draw, dtype=torch.float64) >= self.stays(view.classes)
        others = 1 + torch.randint(max(1, view.classes - 1), (len(labels),), generator=view.draw)
        return torch.where(moved, (labels + others) % view.classes, labels)
