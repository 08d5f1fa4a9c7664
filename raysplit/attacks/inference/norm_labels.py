"""Li et al. 2021, norm: of two classes, the one that the model is surer of gets the smaller gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from raysplit.attacks.inference.inference_attack import (
    Goal,
    InferenceAttack,
    Knowledge,
    Observed,
    Reconstruction,
)
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.parts.part import part
from raysplit.protocols.requirements import Requirement

GradientChannel = Literal["feature_gradients", "cut_gradients"]
"""Where a sample's gradient can be read: as a U-shaped client sends it, and behind the server portion."""


@part
class NormLabels(InferenceAttack):
    """Score of sample i: ‖g_i‖₂, g_i its gradient on ``channel`` times B; scored by leak AUC, without a threshold.

    With two classes g_i is (1 − p_y)·‖a‖ long behind any layers, p_y what the model gives the true class and a the
    layers' answer to (1, −1): the rarer class, of which the model is less sure, has the longer gradients. The adversary
    knows which class is the rarer one, ``positive``, and nothing else. More classes are refused: there the length says
    how sure the model is, and not of what. Source: Li et al. 2021, "Label leakage and protection in two-party split
    learning", arXiv 2102.08504, norm-based attack.
    """

    channel: GradientChannel = "feature_gradients"
    positive: int = 1
    goal: Goal = "labels"

    def __post_init__(self) -> None:
        if self.positive not in (0, 1):
            raise ScenarioError(f"NormLabels.positive is one of two classes, 0 or 1, but it is {self.positive}")

    @property
    def reads(self) -> frozenset[Channel]:
        return frozenset({Channel(self.channel)})

    @property
    def requires(self) -> Iterator[Requirement]:
        yield Requirement(
            lambda setting: setting.model.classes == 2,
            "{component} tells two classes apart by the length of their gradients, but {model} has "
            "{setting.model.classes}; use DirectionLabels or ClusterLabels",
        )

    def infer(self, observed: Observed, knowledge: Knowledge) -> Reconstruction:
        gradients = observed.on(Channel(self.channel)).flatten(1)
        return Reconstruction(
            positive_scores=gradients.norm(dim=1) * observed.batch_sizes, positive_class=self.positive
        )
