"""What crosses a channel: one message, and the address that all messages of one split step share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from raysplit.channels.channel import Channel

LABEL_BYTES = 8
"""Of one label on a channel: labels travel as int64."""


class Score(NamedTuple):
    """Of one batch: mean cross-entropy (nats) and the number classified rightly, before the step."""

    loss: float
    correct: int


@dataclass(frozen=True, slots=True)
class Message:
    """One message on a channel. ``tensor`` is what it carries; ``labels`` travel with smashed data unless U-shaped.

    ``client``: the client (its id) whose split step it belongs to, whoever sends; ``step``: the number of the batch in
    that client's local round; ``position``: the client's in the cohort, -1 where there is none. ``score``: of the
    batch, where the sender knows it and the receiver does not. ``encoded_bytes``: what the tensor takes where it crosses
    in another form; None: its floats as they are. It is for the sender's count and never crosses.
    """

    channel: Channel
    round: int
    client: int
    step: int
    tensor: torch.Tensor
    labels: torch.Tensor | None = None
    position: int = -1
    score: Score | None = None
    encoded_bytes: int | None = None

    def reply(self, channel: Channel, tensor: torch.Tensor, score: Score | None = None) -> Message:
        """A message of the same split step on another channel."""
        return Message(channel, self.round, self.client, self.step, tensor, None, self.position, score)

    @property
    def tensor_bytes(self) -> int:
        return self.tensor.numel() * self.tensor.element_size() if self.encoded_bytes is None else self.encoded_bytes

    @property
    def label_bytes(self) -> int:
        return 0 if self.labels is None else self.labels.numel() * LABEL_BYTES


class StepAddress(NamedTuple):
    """Whose split step it is: what all of its messages say of themselves."""

    round: int
    client: int
    step: int
    position: int

    def message(self, channel: Channel, tensor: torch.Tensor, labels: torch.Tensor | None = None) -> Message:
        return Message(channel, self.round, self.client, self.step, tensor, labels, self.position)
