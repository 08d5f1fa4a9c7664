"""Everything that leaves a party crosses one of these channels (docs/design.md, section 1).

Costs are counted on channels, attacks and defences attach to them, and a threat model is the set of channels that an
adversary may see or change. Nothing else connects the parties.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol, runtime_checkable

import torch


class Channel(str, Enum):
    """The named channels, in the order in which a round uses them."""

    WEIGHTS = "weights"
    """fed server → client: client portion, d_C floats"""
    RELAYED = "relayed"
    """first client → intermediary, ``ExtendedSplit``: the head's output, [B, …]"""
    SMASHED = "smashed"
    """client → main server: Z [B, …] and, unless U-shaped, labels [B]"""
    FEATURES = "features"
    """main server → client, U-shaped: the second cut, [B, …]"""
    FEATURE_GRADIENTS = "feature_gradients"
    """client → main server, U-shaped: ∂L/∂features"""
    CUT_GRADIENTS = "cut_gradients"
    """main server → client: ∂L/∂Z, per sample"""
    RELAY_GRADIENTS = "relay_gradients"
    """intermediary → first client, ``ExtendedSplit``: ∂L/∂ of the head's output"""
    HANDOVER = "handover"
    """client → client, or through a store: client portion and, by policy, optimiser state"""
    UPDATES = "updates"
    """client → fed server: client portion (its update), d_C floats"""
    SERVER_UPDATES = "server_updates"
    """server replica → main server: server-portion update (SplitFedV1, V3)"""


@dataclass(frozen=True)
class ThreatModel:
    """The channels that an adversary may see and change, and whose messages it sees there.

    ``knowledge="full"``: all benign clients' messages on the channels in ``sees``; ``"partial"``: only its own
    clients'. ``own_data``: whether its clients' own training data are in its hands. ``party``: who is the adversary:
    malicious clients, or the main server.
    """

    sees: frozenset[Channel]
    changes: frozenset[Channel]
    knowledge: Literal["full", "partial"] = "full"
    own_data: bool = False
    party: Literal["clients", "main_server"] = "clients"


@dataclass(frozen=True)
class Message:
    """One message on a channel. ``tensor`` is what it carries; ``labels`` travel with smashed data unless U-shaped."""

    channel: Channel
    round: int
    client: int
    step: int
    tensor: torch.Tensor
    labels: torch.Tensor | None = None


@runtime_checkable
class Tap(Protocol):
    """Somebody attached to channels between a client and the main server: gets each message, returns what goes on.

    With no tap attached the wire costs nothing. A tap that only listens returns its message unchanged.
    """

    @property
    def channels(self) -> frozenset[Channel]: ...

    def through(self, message: Message) -> Message: ...


def pass_taps(taps: tuple[Tap, ...], message: Message) -> Message:
    """What arrives of a message when every tap on its channel has had it, in order."""
    for tap in taps:
        if message.channel in tap.channels:
            message = tap.through(message)
    return message


class Traffic:
    """Messages and bytes on every channel, counted where a message leaves its sender.

    ``bytes`` are the tensors'; labels (int64) are counted apart, because the papers' cost tables leave them out.
    """

    def __init__(self) -> None:
        self.messages: dict[Channel, int] = {}
        self.bytes: dict[Channel, int] = {}
        self.label_bytes: dict[Channel, int] = {}

    def count(self, channel: Channel, payload: int, labels: int = 0, messages: int = 1) -> None:
        self.messages[channel] = self.messages.get(channel, 0) + messages
        self.bytes[channel] = self.bytes.get(channel, 0) + payload
        self.label_bytes[channel] = self.label_bytes.get(channel, 0) + labels

    def add(self, other: Traffic) -> None:
        for channel in other.messages:
            self.count(channel, other.bytes[channel], other.label_bytes[channel], other.messages[channel])
