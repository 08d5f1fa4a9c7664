"""Labels flipped on the wire: the training data are clean, what travels with the smashed data is not."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import torch

from raysplit.attacks.messages.message_attack import MessageAttack, MessageView, checked, client_threat
from raysplit.channels.channel import Channel, ThreatModel
from raysplit.channels.message import Message
from raysplit.errors import ScenarioError
from raysplit.parts.part import part, within


@part
class WireLabelFlip(MessageAttack):
    """Labels become C − 1 − y (``"mirror"``), (y + 1) mod C (``"next"``), another one at random (``"random"``), or one
    class for all.

    With one split client it is the flip of its training labels, as long as the client itself uses labels for nothing
    else. U-shaped clients send none: tamper with ``feature_gradients`` there.
    """

    to: Literal["mirror", "next", "random"] | int = "mirror"
    share: float = 1.0
    start_round: int = 1

    changes_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checked(self, self.start_round, share=self.share)
        within("WireLabelFlip.share", self.share, 0, 1)
        if isinstance(self.to, int) and self.to < 0:
            raise ScenarioError(f"WireLabelFlip.to is a class from 0 on, but it is {self.to}")

    @property
    def threat_model(self) -> ThreatModel:
        return client_threat(Channel.SMASHED)

    def alter(self, message: Message, view: MessageView) -> Message:
        y, classes = message.labels, view.classes
        assert y is not None, "scenarios check that labels travel"
        if self.to == "mirror":
            new = classes - 1 - y
        elif self.to == "next":
            new = (y + 1) % classes
        elif self.to == "random":
            away = torch.from_numpy(view.rng.integers(1, max(2, classes), len(y))).to(y)
            new = (y + away) % classes
        else:
            new = torch.full_like(y, int(self.to))
        hit = torch.from_numpy(view.rng.random(len(y)) < self.share).to(y.device)
        return replace(message, labels=torch.where(hit, new, y))
