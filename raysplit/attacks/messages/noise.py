"""Random smashed data: the simplest answer to Khan et al. 2022, section 6.1."""

from __future__ import annotations

import torch

from raysplit.attacks.messages.message_attack import MessageAttack, MessageView, checked, client_threat
from raysplit.attacks.messages.shapes import gaussian, with_tensor
from raysplit.channels.channel import Channel, ThreatModel
from raysplit.channels.message import Message
from raysplit.parts.part import part


@part
class SmashedNoise(MessageAttack):
    """Z' = Z + ``scale``·s·N(0, I), where s is the standard deviation of all elements of the client's own batch Z, [B,
    …].

    So ``scale=1`` is as much noise as signal, whatever the cut and however far training has come. Labels stay.
    """

    scale: float = 1.0
    start_round: int = 1

    def __post_init__(self) -> None:
        checked(self, self.start_round, scale=self.scale)

    @property
    def threat_model(self) -> ThreatModel:
        return client_threat(Channel.SMASHED)

    def alter(self, message: Message, view: MessageView) -> Message:
        z = message.tensor
        spread = self.scale * float(torch.std(z, correction=0))
        return with_tensor(message, z + spread * gaussian(z, view.rng))
