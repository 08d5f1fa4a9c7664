"""UnSplit's label inference (Erdoğan et al. 2021): which label would give the gradient that was seen?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

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
class GradientMatchingLabels(InferenceAttack):
    """ŷ = argmin_y MSE(∂L(f̃₂(h); y), ∂L(f₂(h); y)), h the features that the server itself sent, f̃₂ a clone of the
    client's tail f₂; after each split step the clone takes a step of Adam (amsgrad) at ``lr`` on the labels it found.

    ``form="oracle"``: ∂/∂γ₂, the *weight* gradients of the tail, as the published code takes them from the client. No
    message of a U-shaped protocol brings them, so the fact ``tail_gradients`` must be assumed. ``compared``: which of
    them, by its name in the network; None: the last layer's weights (Table 3 at depth 1). One sample a step. A tail that
    was trained before the clone began misleads it for good; ``SignLabels`` is not misled.
    ``form="protocol"``: ∂/∂h, which the client does send, a row a sample, so batches may be of any size. Its labels are
    right by chance only while the tail has layers: a tail whose classes are permuted sends the same gradients for
    permuted labels. Judge it by the best naming. ``true_tail``: f₂ itself stands for the clone and stays as it is: the
    main server together with one client, where portions are averaged or handed over. Then every label is right, as long
    as the tail has moved little since the round began.

    Source: Erdoğan, Küpçü, Çiçek 2021, section 4.3, equation (3), Algorithm 2; Adam at 1e-3 from the public code.
    """

    form: Literal["oracle", "protocol"] = "oracle"
    compared: str | None = None
    true_tail: bool = False
    lr: float = 1e-3
    goal: Goal = "labels"

    def __post_init__(self) -> None:
        if self.lr < 0:
            raise ScenarioError(f"GradientMatchingLabels.lr must be at least 0, but it is {self.lr}")
        if self.form == "protocol" and self.compared is not None:
            raise ScenarioError(
                f"GradientMatchingLabels(form='protocol') compares feature gradients, not {self.compared!r}; leave "
                "compared out or use form='oracle'"
            )
        if self.form == "oracle" and self.true_tail:
            raise ScenarioError(
                "GradientMatchingLabels(true_tail=True) compares feature gradients; use form='protocol' with it"
            )

    @property
    def reads(self) -> frozenset[Channel]:
        seen = {Channel.FEATURES} if self.form == "oracle" else {Channel.FEATURES, Channel.FEATURE_GRADIENTS}
        return frozenset(seen)

    @property
    def needs(self) -> frozenset[Fact]:
        if self.true_tail:
            return frozenset({"client_weights"})
        return frozenset({"architecture", "tail_gradients"} if self.form == "oracle" else {"architecture"})

    @property
    def requires(self) -> Iterator[Requirement]:
        if self.form == "oracle":
            yield Requirement(
                lambda setting: setting.batch_size == 1,
                "{component}(form='oracle') compares the weight gradient of one sample, but Training.batch_size is "
                "{setting.batch_size}; train with batch_size=1 or use form='protocol'",
            )

    def infer(self, observed: Observed, knowledge: Knowledge) -> Reconstruction:
        features = observed.on(Channel.FEATURES)
        clone = knowledge.client_tail() if self.true_tail else knowledge.untrained_tail()
        weights = [] if self.true_tail else list(clone.parameters())
        optimizer = torch.optim.Adam(weights, self.lr, amsgrad=True) if weights else None
        parameter, seen = self._compared(observed, knowledge, clone)
        labels = torch.empty(len(observed), dtype=torch.int64)
        for step in torch.unique(observed.batches).tolist():
            rows = observed.batches == step
            leaf = features[rows].detach().requires_grad_()
            logits = clone(leaf)
            at = step if self.form == "oracle" else rows
            labels[rows] = _nearest(logits, parameter if parameter is not None else leaf, seen[at], knowledge.classes)
            if optimizer is not None:
                gradients = torch.autograd.grad(functional.cross_entropy(logits, labels[rows]), weights)
                for weight, gradient in zip(weights, gradients, strict=True):
                    weight.grad = gradient
                optimizer.step()
        return Reconstruction(labels=labels)

    def _compared(
        self, observed: Observed, knowledge: Knowledge, clone: nn.Module
    ) -> tuple[nn.Parameter | None, torch.Tensor]:
        """The clone's parameter by which gradients are compared, None: the features; and what was seen, [steps, …] or
        [n, …]."""
        if self.form == "protocol":
            gradients = observed.on(Channel.FEATURE_GRADIENTS)
            return None, gradients * observed.batch_sizes.view(-1, *(1,) * (gradients.dim() - 1))
        named = dict(clone.named_parameters())
        matrices = [name for name, parameter in named.items() if parameter.dim() > 1]
        name = self.compared or (matrices[-1] if matrices else "")
        if name not in named:
            raise ScenarioError(
                f"GradientMatchingLabels compares {name or 'weights'!r}, but the client's tail has "
                f"{', '.join(named) or 'no parameters'}; name one of them or end the server portion earlier"
            )
        return named[name], knowledge.tail_gradients()[name]


def _nearest(logits: torch.Tensor, by: torch.Tensor, seen: torch.Tensor, classes: int) -> torch.Tensor:
    """The label of each row of logits [b, classes] whose gradient by ``by`` is nearest to ``seen``, of the same shape:
    features [b, …], a gradient a row, or one parameter, where b is 1."""
    distances = []
    for label in range(classes):
        loss = functional.cross_entropy(
            logits, logits.new_full((len(logits),), label, dtype=torch.int64), reduction="sum"
        )
        (gradient,) = torch.autograd.grad(loss, [by], retain_graph=True)
        distances.append((gradient - seen).square().reshape(len(logits), -1).mean(1))
    return torch.stack(distances).argmin(0)
