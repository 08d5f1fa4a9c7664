"""What a poisoning of messages is: what a malicious client, or a malicious main server, sends instead of an honest
message."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from raysplit.aggregation.update_attack import check_start_round
from raysplit.attacks.attack import Attack
from raysplit.attacks.scheduled import singles
from raysplit.channels.channel import Channel, Message, ThreatModel
from raysplit.errors import ScenarioError
from raysplit.parts.contract import answer, contract
from raysplit.protocols.protocol import TrainingProtocol, synchrony_of
from raysplit.protocols.topology import topology_of

SENT_BY = {
    "clients": frozenset({Channel.SMASHED, Channel.FEATURE_GRADIENTS}),
    "main_server": frozenset({Channel.FEATURES, Channel.CUT_GRADIENTS}),
}
"""What each party sends over the wire between clients and main server: all that it can change there."""
WIRE = frozenset({*SENT_BY["clients"], *SENT_BY["main_server"]})


@dataclass(frozen=True)
class MessageView:
    """What the adversary has at hand when a message is about to leave it.

    ``client``: whose step it is; ``rank``: its rank among the malicious, None where the main server lies. ``classes``:
    of the model. ``labels``: the true labels of this batch, [B]: a client always has them, the main server where they
    travel, else None. ``seen``: of the channels that the threat model sees, the last message of this client in this
    round before the present one, as its honest sender made it (the adversary's own) or as it arrived; its ``labels``
    are the true ones, where ``labels`` are. ``memory``: what the attack itself put there at earlier messages of this
    client in this round. It begins empty every round, so nothing depends on which host plays whom; other clients'
    messages are not in it, colluders' neither. ``rng``: a stream of this (attack, round, client, step, channel).
    """

    client: int
    rank: int | None
    classes: int
    round: int
    step: int
    labels: torch.Tensor | None
    seen: Mapping[Channel, Message]
    memory: dict[str, Any]
    rng: np.random.Generator


@contract("an attack on messages")
class MessageAttack(Attack):
    """The contract of attacks on messages. ``alter`` may write into ``view.memory`` and nowhere else: never into the message, which an
    honest graph may still need. It returns what goes on: a tensor of the same shape and type, labels of the same
    number; a message returned as it came counts as honest. Memory layout is no concern of it: what it returns is laid
    out as the original was.
    """

    @answer
    def changes_labels(self) -> bool:
        """Whether it changes labels that travel with smashed data."""
        return False

    @answer
    def needs_answers(self) -> bool:
        """Whether it goes by the answers to a client's earlier steps in the round."""
        return False

    @abstractmethod
    def alter(self, message: Message, view: MessageView) -> Message:
        """What goes on instead of ``message``, or the message itself."""


def client_threat(*changes: Channel, sees: tuple[Channel, ...] = ()) -> ThreatModel:
    """Malicious clients that change what they send on ``changes`` and see nobody's messages but their own."""
    return ThreatModel(frozenset({*changes, *sees}), frozenset(changes), "partial", own_data=True)


def server_threat(*changes: Channel, sees: tuple[Channel, ...] = ()) -> ThreatModel:
    """A main server that changes what it sends on ``changes``."""
    return ThreatModel(frozenset({*changes, *sees}), frozenset(changes), "full", party="main_server")


def checked(attack: object, start_round: int, **bounds: float) -> None:
    """Raise ``ScenarioError`` unless ``start_round`` counts from 1 and each of ``bounds`` is above 0 and finite."""
    name = type(attack).__name__
    check_start_round(name, start_round)
    for field, value in bounds.items():
        if not 0 < value < float("inf"):
            raise ScenarioError(f"{name}.{field} must be above 0 and finite, but it is {value}")


def check_message_attack(attack: MessageAttack, protocol: TrainingProtocol) -> None:
    """Raise ``ScenarioError`` where an attack on messages cannot be carried out under a protocol. Its channels
    exist."""
    name, kind, model = type(attack).__name__, type(protocol).__name__, attack.threat_model
    can = SENT_BY[model.party]
    for channel in sorted(model.changes - can):
        who = "malicious clients" if model.party == "clients" else "the main server"
        raise ScenarioError(
            f"{name} changes messages on '{channel.value}', which {who} cannot: they send "
            f"{' and '.join(sorted(c.value for c in can))}"
        )
    for channel in sorted(model.sees - WIRE):
        raise ScenarioError(
            f"{name} wants to see '{channel.value}' while it changes messages on their way, but only "
            f"{', '.join(sorted(c.value for c in WIRE))} pass it there"
        )
    if topology_of(protocol).kind != "pair":
        raise ScenarioError(
            f"{name} needs clients that each talk to one main server, but the parties of {kind} form one site group; "
            "use a protocol such as SplitFedV2"
        )
    if attack.changes_labels and protocol.u_shaped:
        raise ScenarioError(
            f"{name} changes labels on the wire, but those of a U-shaped {kind} never leave their clients; use "
            "u_shaped=False"
        )
    if synchrony_of(protocol) == "loss_drop" and model.party == "clients":
        raise ScenarioError(
            f"{name} changes messages, but the server of {kind} goes on with smashed data that it kept from earlier "
            "rounds, which are "
            "computed again and not changed again; use another protocol, such as SplitFedV2"
        )


def check_answers(attack: Attack | None, batch_size: int | None, local_epochs: int) -> None:
    """Raise ``ScenarioError`` where an attack lives on the answers to a client's earlier steps and a client takes just
    one a round."""
    for single in singles(attack):
        if isinstance(single, MessageAttack) and single.needs_answers and batch_size is None and local_epochs == 1:
            raise ScenarioError(
                f"{type(single).__name__} goes by the cut gradients of a client's earlier steps in the round, but a "
                "client takes one step a round; "
                "give Training a batch_size or more local_epochs"
            )
