"""Feature replacement: another class's smashed data under the label."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from raysplit.attacks.messages.message_attack import MessageAttack, MessageView, checked, client_threat
from raysplit.channels.channel import Channel, ThreatModel
from raysplit.channels.message import Message
from raysplit.parts.part import part, within


@part
class FeatureReplacement(MessageAttack):
    """Sample i travels with the smashed data of another sample of the batch whose label is another, drawn at random;
    labels stay.

    Every row is an honest row, so nothing about the rows themselves is odd. A sample is left as it is with probability
    1 − ``share``, and where its batch holds no other class. Named by public catalogues of attacks on split learning
    (SecretFlow's "replace"), read in reference/split-learning.md alone.
    """

    share: float = 1.0
    start_round: int = 1

    def __post_init__(self) -> None:
        checked(self, self.start_round, share=self.share)
        within("FeatureReplacement.share", self.share, 0, 1)

    @property
    def threat_model(self) -> ThreatModel:
        return client_threat(Channel.SMASHED)

    def alter(self, message: Message, view: MessageView) -> Message:
        assert view.labels is not None, "a client has its labels"
        labels = view.labels.cpu().numpy()
        source = np.arange(len(labels))
        hit = view.rng.random(len(labels)) < self.share
        for place in np.flatnonzero(hit):
            others = np.flatnonzero(labels != labels[place])
            if len(others):
                source[place] = view.rng.choice(others)
        if (source == np.arange(len(labels))).all():
            return message
        return replace(message, tensor=message.tensor[torch.from_numpy(source).to(message.tensor.device)])
