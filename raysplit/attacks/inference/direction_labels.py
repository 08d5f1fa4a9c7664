"""Li et al. 2021, direction: gradients of one class point one way."""

from __future__ import annotations

from torch.nn import functional

from raysplit.attacks.inference.adversary import Fact
from raysplit.attacks.inference.inference_attack import (
    Goal,
    InferenceAttack,
    Knowledge,
    Observed,
    Reconstruction,
)
from raysplit.attacks.inference.norm_labels import GradientChannel
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.parts.part import part


@part
class DirectionLabels(InferenceAttack):
    """Score of sample i: cos(g_i, r), r the mean direction of ``known`` samples that are known to be ``positive``.

    With softmax, cross-entropy and a dense last layer W, g_i = Wᵀ(p_i − e_y). Of two classes p − e_y is (1 − p_y)·(±1, ∓1):
    cosines are 1 and −1, and the leak AUC is 1. Of C classes while p is nearly uniform, p − e_y of two classes have
    cosine −1/(C − 1): one class against the rest. Scored by leak AUC, without a threshold; the known samples do not
    count. Source: Li et al. 2021, arXiv 2102.08504, direction-based attack.
    """

    channel: GradientChannel = "feature_gradients"
    positive: int = 1
    known: int = 1
    goal: Goal = "labels"

    def __post_init__(self) -> None:
        if self.known < 1 or self.positive < 0:
            raise ScenarioError(
                "DirectionLabels counts known samples from 1 and classes from 0, but they are "
                f"{self.known} and {self.positive}"
            )

    @property
    def reads(self) -> frozenset[Channel]:
        return frozenset({Channel(self.channel)})

    @property
    def needs(self) -> frozenset[Fact]:
        return frozenset({"known_labels"})

    def infer(self, observed: Observed, knowledge: Knowledge) -> Reconstruction:
        rows = knowledge.known_labels(self.known, (self.positive,)).get(self.positive)
        if rows is None:
            raise ScenarioError(
                f"DirectionLabels needs a known sample of class {self.positive}, but none was observed; raise --samples "
                "or choose another class"
            )
        directions = functional.normalize(observed.on(Channel(self.channel)).flatten(1))
        reference = functional.normalize(directions[rows].mean(0), dim=0)
        return Reconstruction(positive_scores=directions @ reference, positive_class=self.positive)
