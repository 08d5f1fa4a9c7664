"""How much crosses: messages and bytes on every channel, counted where a message leaves its sender."""

from __future__ import annotations

from typing import NamedTuple

from raysplit.channels.channel import Channel
from raysplit.channels.message import Message


class Count(NamedTuple):
    """``bytes`` are the tensors'; labels (int64) are counted apart, because the papers' cost tables leave them out."""

    messages: int
    bytes: int
    label_bytes: int


class Traffic:
    """Counts by channel."""

    def __init__(self) -> None:
        self.counts: dict[Channel, Count] = {}

    def sent(self, message: Message) -> None:
        """A message has left its sender."""
        self.count(message.channel, message.tensor_bytes, message.label_bytes)

    def count(self, channel: Channel, payload: int, labels: int = 0, messages: int = 1) -> None:
        """Messages whose sizes are known without making them."""
        before = self.counts.get(channel, Count(0, 0, 0))
        self.counts[channel] = Count(
            before.messages + messages, before.bytes + payload, before.label_bytes + labels
        )
