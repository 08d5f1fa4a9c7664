"""What a U-shaped client with a small tail shows, by formulas, for attacks on labels."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from raysplit.attacks.inference.inference_attack import InferenceAttack, Knowledge, Observed, Reconstruction
from raysplit.attacks.inference.target import Target, UShape
from raysplit.channels.channel import Channel
from raysplit.threads import one_thread


@dataclass(frozen=True)
class World:
    """n samples: features [n, d] as the server sent them, labels [n], and the client's tail, which stays as it is."""

    features: torch.Tensor
    labels: torch.Tensor
    tail: nn.Module
    fresh: nn.Module
    batch: int = 1

    @property
    def batches(self) -> torch.Tensor:
        return torch.arange(len(self.labels)) // self.batch

    @property
    def sizes(self) -> torch.Tensor:
        return self.batches.bincount()[self.batches]

    def feature_gradients(self) -> torch.Tensor:
        """∂L/∂h, [n, d], of each batch's mean loss."""
        leaf = self.features.clone().requires_grad_()
        losses = functional.cross_entropy(self.tail(leaf), self.labels, reduction="none")
        (gradients,) = torch.autograd.grad((losses / self.sizes).sum(), [leaf])
        return gradients

    def tail_gradients(self) -> dict[str, torch.Tensor]:
        """∂L/∂γ of every sample alone, by parameter name."""
        named = dict(self.tail.named_parameters())
        if not named:
            return {}
        rows = []
        for h, y in zip(self.features.split(1), self.labels.split(1), strict=True):
            rows.append(torch.autograd.grad(functional.cross_entropy(self.tail(h), y), list(named.values())))
        return {name: torch.stack(column) for name, column in zip(named, zip(*rows, strict=True), strict=True)}

    def messages(self) -> dict[Channel, torch.Tensor]:
        g = self.feature_gradients()
        return {
            Channel.SMASHED: self.features,
            Channel.FEATURES: self.features,
            Channel.FEATURE_GRADIENTS: g,
            Channel.CUT_GRADIENTS: 2 * g,
        }

    def knowledge(self, attack: InferenceAttack) -> Knowledge:
        classes = self.tail(self.features[:1]).shape[1]
        gradients = self.tail_gradients() if "tail_gradients" in attack.needs else {}
        target = Target(
            *(1, (1, 1, 1), classes, 0.0, 1.0, lambda _: nn.Identity(), nn.Identity(), self.tail, None, 0),
            labels=self.labels,
            u_shape=UShape(nn.Identity(), self.tail, lambda _: copy.deepcopy(self.fresh), gradients),
        )
        return Knowledge(attack, target)

    def seen(self, attack: InferenceAttack, messages: Mapping[Channel, torch.Tensor] | None = None) -> Observed:
        return Observed(attack, self.messages() if messages is None else messages, self.batches, self.sizes)

    def attacked(self, attack: InferenceAttack) -> Reconstruction:
        with one_thread():
            return attack.infer(self.seen(attack), self.knowledge(attack))


def dense(features: int, classes: int, hidden: int | None = None) -> nn.Sequential:
    if hidden is None:
        return nn.Sequential(nn.Linear(features, classes)).double()
    return nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, classes)).double()


def world(n: int = 60, classes: int = 5, hidden: int | None = None, batch: int = 1, seed: int = 0) -> World:
    """Features behind a ReLU, labels that have nothing to do with them, an untrained tail."""
    torch.manual_seed(seed)
    features, labels = torch.rand(n, 12, dtype=torch.float64), torch.randint(classes, (n,))
    return World(features, labels, dense(12, classes, hidden), dense(12, classes, hidden), batch)
