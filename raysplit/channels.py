"""Everything that leaves a party crosses one of these channels (docs/design.md, section 1).

Costs are counted on channels, attacks and defences attach to them, and a threat model is the set of channels that an
adversary may see or change. Nothing else connects the parties.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal


class Channel(str, Enum):
    """The named channels, in the order in which a round uses them."""

    WEIGHTS = "weights"
    """fed server → client: client portion, d_C floats"""
    SMASHED = "smashed"
    """client → main server: Z [B, …] and, unless U-shaped, labels [B]"""
    FEATURES = "features"
    """main server → client, U-shaped: the second cut, [B, …]"""
    FEATURE_GRADIENTS = "feature_gradients"
    """client → main server, U-shaped: ∂L/∂features"""
    CUT_GRADIENTS = "cut_gradients"
    """main server → client: ∂L/∂Z, per sample"""
    HANDOVER = "handover"
    """client → client, or through a store: client portion and, by policy, optimiser state"""
    UPDATES = "updates"
    """client → fed server: client portion (its update), d_C floats"""
    SERVER_UPDATES = "server_updates"
    """server replica → main server: server-portion update (SplitFedV1)"""


@dataclass(frozen=True)
class ThreatModel:
    """The channels that an adversary may see and change, and whose messages it sees there.

    ``knowledge="full"``: all benign clients' messages on the channels in ``sees``; ``"partial"``: only its own clients'.
    """

    sees: frozenset[Channel]
    changes: frozenset[Channel]
    knowledge: Literal["full", "partial"] = "full"
