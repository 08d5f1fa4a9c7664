"""Labels by the sign of weight gradients (Zhao et al. 2020, iDLG): what UnSplit's oracle gives away without a clone."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from raysplit.attacks.inference.adversary import Fact
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


@part
class SignLabels(InferenceAttack):
    """ŷ = argmin over classes of the gradient of the tail's last parameter, summed by class.

    With softmax and cross-entropy ∂L/∂b = p − e_y and ∂L/∂W = (p − e_y)·hᵀ, h what enters the last layer: of one sample
    the true class alone has a negative entry, however deep the tail and however long it was trained, so all labels are
    right (without a bias: where h ≥ 0, as behind ReLU or sigmoid). Like ``GradientMatchingLabels(form="oracle")`` it needs
    weight gradients that no message brings, and one sample a step. Source: Zhao, Mopuri, Bilen 2020, "iDLG: Improved deep
    leakage from gradients", arXiv 2001.02610, section 3.
    """

    goal: Goal = "labels"

    @property
    def reads(self) -> frozenset[Channel]:
        return frozenset()

    @property
    def needs(self) -> frozenset[Fact]:
        return frozenset({"tail_gradients"})

    @property
    def requires(self) -> Iterator[Requirement]:
        yield Requirement(
            lambda setting: setting.batch_size == 1,
            "{component} goes by the weight gradient of one sample, but Training.batch_size is {setting.batch_size}; train "
            "with batch_size=1 or use ClusterLabels",
        )

    def infer(self, observed: Observed, knowledge: Knowledge) -> Reconstruction:
        gradients = list(knowledge.tail_gradients().values())
        if not gradients:
            raise ScenarioError(
                "SignLabels reads a client's tail, but it has no parameters; end the server portion earlier"
            )
        last = gradients[-1].flatten(2).sum(2) if gradients[-1].dim() > 2 else gradients[-1]
        by_class = torch.stack([last[step] for step in observed.batches.tolist()])
        return Reconstruction(labels=by_class.argmin(1))
