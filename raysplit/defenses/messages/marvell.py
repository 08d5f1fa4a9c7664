"""Marvell: noise on the gradients of two classes that makes them hard to tell apart at a given loss of accuracy."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from raysplit.defenses.messages.marvell_solver import NoiseVariances, TwoClasses, best_noise
from raysplit.defenses.messages.message_defense import ON_GRADIENTS, DefenseView, GradientDefense
from raysplit.errors import ScenarioError
from raysplit.parts.part import part
from raysplit.protocols.requirements import Requirement


@part
class Marvell(GradientDefense):
    """Gaussian noise of a mean squared length of ``power`` · ‖ḡ₁ − ḡ₀‖² on every sample's gradient, of another covariance
    for each of the two classes, such that both Kullback-Leibler divergences together are as small as that noise allows
    (``marvell_solver.py``), ḡ₁ and ḡ₀ the classes' means in the batch.

    Whoever guesses a label from one gradient errs at least ½ − √divergence/4 of the time if gradients of a class are
    Gaussian with one variance for all coordinates, as the derivation takes them to be; real ones are not, so measure. A
    batch of one class, or in which the means agree, goes out as it is. Models of other than two classes are refused.
    Source: Li, Sun, Yang, Gao, Zhang, Xie, Smith, Wang 2022, ICLR, arXiv 2102.08504, section 4.2.
    """

    power: float = 4.0

    def __post_init__(self) -> None:
        if not 0 < self.power < math.inf:
            raise ScenarioError(f"Marvell.power must be above 0 and finite, but it is {self.power}")

    @property
    def requires(self) -> Iterator[Requirement]:
        yield from ON_GRADIENTS
        yield Requirement(
            lambda setting: setting.model.classes == 2,
            "{component} hides which of two classes a gradient is of, but {model} has {setting.model.classes}; use "
            "GradientNormMasking or RandomisedResponse",
        )

    def sent(self, gradients: torch.Tensor, view: DefenseView) -> torch.Tensor:
        assert view.labels is not None
        rows, positive = gradients.flatten(1).double(), view.labels == 1
        found = self.noise_for(rows, positive)
        if found is None:
            return gradients
        along, across = torch.randn(len(rows), 1, generator=view.draw, dtype=torch.float64), torch.zeros_like(rows)
        if found.across_negative or found.across_positive:
            across = torch.randn(rows.shape, generator=view.draw, dtype=torch.float64)
        gap = rows[positive].mean(0) - rows[~positive].mean(0)
        direction = gap / torch.linalg.vector_norm(gap)
        side = positive.view(-1, 1)
        one = torch.where(
            side, found.along_positive - found.across_positive, found.along_negative - found.across_negative
        )
        other = torch.where(side, found.across_positive, found.across_negative)
        made = rows + one.clamp_min(0).sqrt() * along * direction + other.sqrt() * across
        return made.view(gradients.shape).to(gradients)

    def noise_for(self, rows: torch.Tensor, positive: torch.Tensor) -> NoiseVariances | None:
        """The noise of a batch's gradients [B, d], float64, with ``positive`` [B] those of class 1; None: none."""
        count = int(positive.sum())
        if not 0 < count < len(rows) or rows.shape[1] < 2:
            return None
        sides = rows[~positive], rows[positive]
        means = [side.mean(0) for side in sides]
        gap = float((means[1] - means[0]).square().sum())
        if not 0 < gap < math.inf:
            return None
        negative, positive_side = (
            float((side - mean).square().mean()) for side, mean in zip(sides, means, strict=True)
        )
        classes = TwoClasses(gap, negative, positive_side, count / len(rows), rows.shape[1])
        return best_noise(classes, self.power * gap)
