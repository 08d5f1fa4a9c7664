"""Labels by clustering what each sample shows: cut gradients of a class are nearly parallel."""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional

from raysplit.attacks.inference.adversary import Fact
from raysplit.attacks.inference.cosine_k_means import cosine_k_means, moved
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


@part
class ClusterLabels(InferenceAttack):
    """k-means by cosine on what crosses ``channel``, a row a sample, k the number of classes.

    With softmax and cross-entropy a sample's gradient behind the last layer W is Wᵀ(p − e_y): while p is nearly uniform,
    one direction a class. Later p differs, and the labels blur; ``"smashed"`` and ``"features"`` go by what the portions
    have learned instead, and need no training. ``known=0``: the best of ``restarts``; labels are names of clusters, and
    nothing more can be had: who permutes the classes of a network's last layer with its labels sends the same messages.
    ``known`` samples of each class give the names: the centres start at their mean directions. Sources: Liu et al.,
    "Similarity-based label inference attack against training and inference of split learning" (IEEE 10411061);
    docs/threat-models.md.
    """

    channel: Literal["feature_gradients", "cut_gradients", "smashed", "features"] = "feature_gradients"
    known: int = 0
    restarts: int = 10
    iterations: int = 100
    goal: Goal = "labels"

    def __post_init__(self) -> None:
        if self.known < 0 or min(self.restarts, self.iterations) < 1:
            raise ScenarioError(
                "ClusterLabels counts known from 0, restarts and iterations from 1, but they are "
                f"{self.known}, {self.restarts} and {self.iterations}"
            )

    @property
    def reads(self) -> frozenset[Channel]:
        return frozenset({Channel(self.channel)})

    @property
    def needs(self) -> frozenset[Fact]:
        return frozenset({"known_labels"} if self.known else ())

    def infer(self, observed: Observed, knowledge: Knowledge) -> Reconstruction:
        x = observed.on(Channel(self.channel)).flatten(1)
        if not self.known and len(x) < 2 * knowledge.classes:
            raise ScenarioError(
                f"ClusterLabels looks for {knowledge.classes} clusters in {len(x)} samples, where nearly any naming fits; "
                "attack more: --samples, or give it known samples"
            )
        if not self.known:
            draw = knowledge.generator("clusters")
            labels = cosine_k_means(x, knowledge.classes, self.restarts, self.iterations, draw)
            return Reconstruction(labels=labels, labels_up_to_permutation=True)
        known = knowledge.known_labels(self.known)
        directions = functional.normalize(x)
        starts = torch.stack([directions[rows].mean(0) for rows in known.values()])
        clusters, _ = moved(directions, functional.normalize(starts), self.iterations)
        return Reconstruction(labels=torch.tensor(list(known))[clusters])
