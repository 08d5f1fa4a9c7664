"""Client portions and server portion taught to move apart, in the manner of MISA."""

from __future__ import annotations

from raysplit.attacks.messages.message_attack import MessageAttack, MessageView, checked, client_threat
from raysplit.attacks.messages.shapes import with_tensor
from raysplit.channels.channel import Channel, ThreatModel
from raysplit.channels.message import Message
from raysplit.parts.part import part


@part
class Misalignment(MessageAttack):
    """Smashed data mirrored at the batch's own mean: Z' = μ − ``strength``·(Z − μ), under the true labels.

    Z' has the mean of Z and, with ``strength=1``, its covariance: no statistic up to the second moment tells them
    apart. The server portion (top) learns from the malicious clients to read features the wrong way round, and they go
    back through their own portion (bottom) with the gradient at Z', which has the opposite sign for Z: their bottoms
    are pushed away from what the benign clients' tops want, and go into the average. MISA (Wan et al., ICASSP 2024,
    arXiv 2312.11026) poisons both models so that they misalign; **the paper is not at hand**, of it only a sentence in
    reference/split-learning.md: this is our construction after its idea, not its algorithm. ``CompositeAttack`` with an
    attack on updates poisons the bottoms directly too.
    """

    strength: float = 1.0
    start_round: int = 1

    def __post_init__(self) -> None:
        checked(self, self.start_round, strength=self.strength)

    @property
    def threat_model(self) -> ThreatModel:
        return client_threat(Channel.SMASHED)

    def alter(self, message: Message, view: MessageView) -> Message:
        z = message.tensor
        mean = z.mean(0, keepdim=True)
        return with_tensor(message, mean - self.strength * (z - mean))
