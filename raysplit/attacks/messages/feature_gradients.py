"""U-shapes: the client computes the loss, so it can send back any gradient of it."""

from __future__ import annotations

from raysplit.attacks.messages.message_attack import MessageAttack, MessageView, checked, client_threat
from raysplit.attacks.messages.shapes import Kind, tampered, with_tensor
from raysplit.channels.channel import Channel, ThreatModel
from raysplit.channels.message import Message
from raysplit.parts.part import part


@part
class FeatureGradientTampering(MessageAttack):
    """A malicious client's ``feature_gradients`` g = ∂L/∂features turned round (``"flip"``: −factor·g), stretched
    (``"scale"``), replaced by noise of ``factor`` times their length, or zero.

    Its own tail learns honestly. The server portion ascends on its batches, and its head gets cut gradients of the same
    sign, for they come from the same backward pass.
    """

    kind: Kind = "flip"
    factor: float = 1.0
    start_round: int = 1

    def __post_init__(self) -> None:
        checked(self, self.start_round, factor=self.factor)

    @property
    def threat_model(self) -> ThreatModel:
        return client_threat(Channel.FEATURE_GRADIENTS)

    def alter(self, message: Message, view: MessageView) -> Message:
        return with_tensor(message, tampered(self.kind, self.factor, message.tensor, view.rng))
