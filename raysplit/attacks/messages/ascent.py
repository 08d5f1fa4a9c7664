"""Smashed data moved along the cut gradients: adversarial samples made at the cut, without the server portion."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch

from raysplit.attacks.messages.message_attack import MessageAttack, MessageView, checked, client_threat
from raysplit.attacks.messages.shapes import column, lengths, with_tensor
from raysplit.channels.channel import Channel, ThreatModel
from raysplit.channels.message import Message
from raysplit.parts.part import part


@part
class SmashedAscent(MessageAttack):
    """z_i' = z_i + ``step``·‖z_i‖·u_i with ‖u_i‖ = 1 along the loss's gradient at the cut, so ‖z_i' − z_i‖ ≤
    ``step``·‖z_i‖.

    The server's answer to *this* batch comes too late, and the client has no server portion to ask. It has the cut
    gradients of its earlier steps of the round: u_i points along the sum of those of samples with the label of sample
    i, or of all samples where none had it; ``direction="sign"`` along that sum's sign. The first step of a local round
    is honest, so a client must take two. After Goodfellow et al. 2015 (from memory, not at hand), carried over to the
    cut.
    """

    step: float = 1.0
    direction: Literal["gradient", "sign"] = "gradient"
    start_round: int = 1

    needs_answers: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checked(self, self.start_round, step=self.step)

    @property
    def threat_model(self) -> ThreatModel:
        return client_threat(Channel.SMASHED, sees=(Channel.CUT_GRADIENTS,))

    def alter(self, message: Message, view: MessageView) -> Message:
        answer = view.seen.get(Channel.CUT_GRADIENTS)
        if answer is None or answer.labels is None or view.labels is None:
            return message
        gradients = answer.tensor.reshape(len(answer.tensor), -1)
        if "sums" not in view.memory:
            view.memory["sums"] = gradients.new_zeros(view.classes, gradients.shape[1])
            view.memory["known"] = torch.zeros(view.classes, dtype=torch.bool, device=gradients.device)
        sums, known = view.memory["sums"], view.memory["known"]
        for label, row in zip(
            answer.labels.tolist(), gradients, strict=True
        ):  # one by one: a scatter's order is not fixed
            sums[label] += row
            known[label] = True
        of_class = torch.where(known[view.labels][:, None], sums[view.labels], sums.sum(0))
        if self.direction == "sign":
            of_class = of_class.sign()
        unit = of_class / torch.linalg.vector_norm(of_class, dim=1, keepdim=True).clamp_min(1e-30)
        z = message.tensor
        return with_tensor(message, z + self.step * column(lengths(z), z) * unit.view(z.shape))
