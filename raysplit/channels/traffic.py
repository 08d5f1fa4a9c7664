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


NOTHING = Count(0, 0, 0)


def added(one: Count, other: Count) -> Count:
    """Of what crossed here and there."""
    return Count(one.messages + other.messages, one.bytes + other.bytes, one.label_bytes + other.label_bytes)


class Traffic:
    """Counts by channel."""

    def __init__(self) -> None:
        self.counts: dict[Channel, Count] = {}

    def sent(self, message: Message) -> None:
        """A message has left its sender."""
        self.count(message.channel, message.tensor_bytes, message.label_bytes)

    def count(self, channel: Channel, payload: int, labels: int = 0, messages: int = 1) -> None:
        """Messages whose sizes are known without making them."""
        self.counts[channel] = added(self.counts.get(channel, NOTHING), Count(messages, payload, labels))
