"""Label consistency: whose labels the server portion finds far more surprising than those of the other clients."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from raysplit.defenses.detection.detection import Screen, SplitStepView, Verdict
from raysplit.defenses.detection.peers import add_split_step, deviation, means
from raysplit.errors import ScenarioError
from raysplit.parts.part import part, within

FLOOR = 0.05
"""Nats: differences of mean losses below it are never remarkable."""


@part
class LabelScreen(Screen):
    """Rejects split steps of a client whose mean loss over its local round so far lies ``threshold`` robust standard
    deviations above the median client's.

    Against labels that do not belong to the smashed data: flipped labels in training data or in the message. Our own,
    after the usual use of losses against noisy labels; no paper. It assumes an honest majority among the last
    ``clients`` clients, and clients of alike difficulty: an honest one whose data are hard looks the same as a
    malicious one. It judges nobody before ``least`` other clients have come. In a U-shape the server has no labels, and
    a scenario with this screen cannot be built.
    """

    threshold: float = 5.0
    clients: int = 50
    least: int = 4

    def __post_init__(self) -> None:
        check_ranges("LabelScreen", self.threshold, self.clients, self.least)

    @property
    def needs_labels(self) -> bool:
        return True

    def judge(self, view: SplitStepView, memory: Mapping[str, torch.Tensor]) -> Verdict:
        assert view.loss is not None, "scenarios check this"
        loss = torch.tensor(view.loss, dtype=torch.float64)
        after = add_split_step(memory, view.client, view.round, {"loss": loss}, self.clients + 1)
        losses = means(after, "loss")
        if len(losses) <= self.least:
            return Verdict(True, after)
        return Verdict(deviation(losses, FLOOR) <= self.threshold, after)


def check_ranges(kind: str, threshold: float, clients: int, least: int) -> None:
    """Raise ``ScenarioError`` for numbers with which a screen could not judge."""
    if not threshold > 0:
        raise ScenarioError(f"{kind}.threshold must be above 0 robust standard deviations, but it is {threshold!r}")
    within(f"{kind}.least", least, 2)
    if clients < least:
        raise ScenarioError(
            f"{kind}.clients must be at least {kind}.least, {least}, or nobody is ever judged, but it is {clients}"
        )
