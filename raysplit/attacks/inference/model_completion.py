"""Fu et al. 2022, passive model completion: a head that is trained on few labelled and many other samples."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from raysplit import rng
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


@part
class ModelCompletion(InferenceAttack):
    """A dense head k on z, what crosses ``channel``, trained on ``known`` labelled samples of each class and on all others
    by MixMatch: CE(k(z), y) + w·mean((softmax(k(z')) − q)²), z and z' mixed.

    q, the guessed label of an unlabelled sample, is softmax(k(z'))^(1/T) made to sum to 1, T ``temperature``. All are
    mixed with others at random, λ·a + (1 − λ)·b with λ ~ Beta(α, α) and at least 1/2, α ``mixing``; w grows to
    ``unlabelled`` over the ``steps``. ``unlabelled=0``: the labelled samples alone. z is standardised feature by feature
    over all that was observed, and augmented by nothing, as a server has no inputs. Better than the same number of labels
    without any message is what the score must be.

    Source: Fu et al. 2022, "Label inference attacks against vertical federated learning", USENIX Security, section 4;
    temperature 0.8, α 0.75, w 50 and Adam as in public code.
    """

    channel: Literal["features", "smashed"] = "features"
    known: int = 1
    steps: int = 300
    lr: float = 2e-3
    unlabelled: float = 50.0
    temperature: float = 0.8
    mixing: float = 0.75
    batch_size: int = 64
    goal: Goal = "labels"

    def __post_init__(self) -> None:
        if min(self.known, self.steps, self.batch_size) < 1 or min(self.lr, self.temperature, self.mixing) <= 0:
            raise ScenarioError(
                f"ModelCompletion takes known, steps and batch_size from 1, and lr, temperature and mixing above 0, but "
                f"it is {self}"
            )
        if self.unlabelled < 0:
            raise ScenarioError(f"ModelCompletion.unlabelled is a weight of at least 0, but it is {self.unlabelled}")

    @property
    def reads(self) -> frozenset[Channel]:
        return frozenset({Channel(self.channel)})

    @property
    def needs(self) -> frozenset[Fact]:
        return frozenset({"known_labels"})

    def infer(self, observed: Observed, knowledge: Knowledge) -> Reconstruction:
        z = observed.on(Channel(self.channel)).flatten(1)
        z = (z - z.mean(0)) / (z.std(0, correction=0) + 1e-5)
        known = knowledge.known_labels(self.known)
        rows = torch.cat(list(known.values()))
        classes = torch.cat([torch.full((len(some),), label) for label, some in known.items()])
        y = functional.one_hot(classes, knowledge.classes).to(z.dtype)
        others = torch.ones(len(z), dtype=torch.bool)
        others[rows] = False
        head = self._head(z, knowledge)
        self._train(head, (z[rows], y), z[others], knowledge.generator("mix"))
        with torch.no_grad():
            return Reconstruction(labels=head(z).argmax(1))

    def _head(self, z: torch.Tensor, knowledge: Knowledge) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(1 << 62, (), generator=knowledge.generator("head"))))
            return nn.Linear(z.shape[1], knowledge.classes).to(z.dtype)

    def _train(
        self, head: nn.Module, labelled: tuple[torch.Tensor, torch.Tensor], others: torch.Tensor, draw: torch.Generator
    ) -> None:
        z, y = labelled
        semi = self.unlabelled > 0 and len(others) > 0
        numbers = rng.stream(int(torch.randint(1 << 62, (), generator=draw)), "inference mixing")
        optimizer = torch.optim.Adam(head.parameters(), lr=self.lr)
        for step in range(self.steps):
            if semi:
                some = others[torch.randint(len(others), (min(self.batch_size, len(others)),), generator=draw)]
                inputs, targets = torch.cat([z, some]), torch.cat([y, self._guessed(head, some)])
                drawn = float(numbers.beta(self.mixing, self.mixing))
                share = max(drawn, 1 - drawn)
                order = torch.randperm(len(inputs), generator=draw)
                inputs = share * inputs + (1 - share) * inputs[order]
                targets = share * targets + (1 - share) * targets[order]
            else:
                inputs, targets = z, y
            logits = head(inputs)
            loss = functional.cross_entropy(logits[: len(z)], targets[: len(z)])
            if semi:
                errors = (logits[len(z) :].softmax(1) - targets[len(z) :]).square()
                loss = loss + self.unlabelled * (step + 1) / self.steps * errors.mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    @torch.no_grad()
    def _guessed(self, head: nn.Module, z: torch.Tensor) -> torch.Tensor:
        sharp: torch.Tensor = (head(z) / self.temperature).softmax(1)
        return sharp
