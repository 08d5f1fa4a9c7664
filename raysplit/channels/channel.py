"""Everything that leaves a party crosses one of these channels (docs/design.md, section 1).

Costs are counted on channels, attacks and defences attach to them, and a threat model is the set of channels that an
adversary may see or change. Nothing else connects the parties. A channel is data: who sends on it and who receives.
Whoever makes, passes on, counts or frames a message asks the channel and knows none by name, so a new kind of message
is a new value here and the place that makes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

Party = Literal["clients", "main_server", "fed_server"]


class Channel(str, Enum):
    """The named channels, in the order in which a round uses them. A new value goes to the end: random streams of
    attacks on messages are named by the place in this order."""

    sender: Party
    receiver: Party

    def __new__(cls, value: str, sender: Party | None = None, receiver: Party | None = None) -> Channel:
        if sender is None or receiver is None:  # optional for ``Channel("smashed")`` alone, which looks a channel up
            raise TypeError(f"channel {value!r} needs its sender and receiver")
        channel = str.__new__(cls, value)
        channel._value_ = value
        channel.sender, channel.receiver = sender, receiver
        return channel

    WEIGHTS = "weights", "fed_server", "clients"
    """fed server → client: client portion, d_C floats"""
    RELAYED = "relayed", "clients", "clients"
    """first client → intermediary, ``ExtendedSplit``: the head's output, [B, …]"""
    SMASHED = "smashed", "clients", "main_server"
    """client → main server: Z [B, …] and, unless U-shaped, labels [B]"""
    FEATURES = "features", "main_server", "clients"
    """main server → client, U-shaped: the second cut, [B, …]"""
    FEATURE_GRADIENTS = "feature_gradients", "clients", "main_server"
    """client → main server, U-shaped: ∂L/∂features"""
    CUT_GRADIENTS = "cut_gradients", "main_server", "clients"
    """main server → client: ∂L/∂Z, per sample"""
    RELAY_GRADIENTS = "relay_gradients", "clients", "clients"
    """intermediary → first client, ``ExtendedSplit``: ∂L/∂ of the head's output"""
    HANDOVER = "handover", "clients", "clients"
    """client → client, or through a store: client portion and, by policy, optimiser state"""
    UPDATES = "updates", "clients", "fed_server"
    """client → fed server: client portion (its update), d_C floats"""
    SERVER_UPDATES = "server_updates", "main_server", "main_server"
    """server replica → main server: server-portion update (SplitFedV1, V3)"""


def sent_by(party: Party, to: Party) -> frozenset[Channel]:
    """The channels on which one party sends to another."""
    return frozenset(channel for channel in Channel if (channel.sender, channel.receiver) == (party, to))


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
