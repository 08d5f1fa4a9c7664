"""What a poisoning of messages is: what a malicious client, or a malicious main server, sends instead of an honest
message."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from raysplit.aggregation.attack import Attack
from raysplit.aggregation.update_attack import check_start_round
from raysplit.channels.channel import Channel, ThreatModel, sent_by
from raysplit.channels.message import Message
from raysplit.errors import ScenarioError
from raysplit.parts.contract import answer, contract
from raysplit.protocols.requirements import (
    Requirement,
    client_and_server,
    labels_at_server,
    steps_in_round,
    synchrony_is,
)

SENT_BY = {
    "clients": sent_by("clients", to="main_server"),
    "main_server": sent_by("main_server", to="clients"),
}
"""What each party sends to the other, of clients and main server: all that it can change there."""
WIRE = frozenset({*SENT_BY["clients"], *SENT_BY["main_server"]})


@dataclass(frozen=True)
class MessageView:
    """What the adversary has at hand when a message is about to leave it.

    ``client``: whose step it is; ``rank``: its rank among the malicious, None where the main server is malicious.
    ``classes``: of the model. ``labels``: the true labels of this batch, [B]: a client always has them, the main server
    where they travel, else None. ``seen``: of the channels that the threat model sees, the last message of this client
    in this round before the present one, as its honest sender made it (the adversary's own) or as it arrived; its
    ``labels`` are the true ones, where ``labels`` are. ``memory``: what the attack itself put there at earlier messages
    of this client in this round. It begins empty every round, so nothing depends on which host plays whom; other
    clients' messages are not in it, colluders' neither. ``rng``: a stream of this (attack, round, client, step,
    channel).
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


@contract("an attack on messages", also=("attempts", "triggered"))
class MessageAttack(Attack):
    """The contract of attacks on messages: a frozen part derives from it and gives ``threat_model`` and ``alter``.

    One that means to be measured has ``attempts`` too, and ``triggered`` where it is tried at the cut
    (``data_attack.py``).
    """

    @answer
    def changes_labels(self) -> bool:
        """Whether it changes labels that travel with smashed data."""
        return False

    @answer
    def needs_answers(self) -> bool:
        """Whether it goes by the cut gradients of a client's earlier steps in the round."""
        return False

    @answer
    def requires(self) -> tuple[Requirement, ...]:
        return tuple(_requirements(self))

    @abstractmethod
    def alter(self, message: Message, view: MessageView) -> Message:
        """What goes on instead of a message: a tensor of the same shape and type, labels of the same number.

        It may write into ``view.memory`` and nowhere else: never into the message, which an honest graph may still
        need. A message returned as it came counts as honest. Memory layout is no concern of it: what it returns is laid
        out as the original was.
        """


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


def _requirements(attack: MessageAttack) -> Iterator[Requirement]:
    model = attack.threat_model
    can = SENT_BY[model.party]
    for channel in sorted(model.changes - can):
        who = "malicious clients" if model.party == "clients" else "the main server"
        yield Requirement(
            lambda _: False,
            f"{{component}} changes messages on '{channel.value}', which {who} cannot: they send "
            f"{' and '.join(sorted(c.value for c in can))}",
        )
    for channel in sorted(model.sees - WIRE):
        yield Requirement(
            lambda _: False,
            f"{{component}} wants to see '{channel.value}' while it changes messages on their way, but only "
            f"{', '.join(sorted(c.value for c in WIRE))} pass it there",
        )
    yield client_and_server(
        "{component} needs clients that each talk to one main server, but the parties of {protocol} form one site "
        "group; use a protocol such as SplitFedV2"
    )
    if attack.changes_labels:
        yield labels_at_server(
            "{component} changes labels on the wire, but those of a U-shaped {protocol} never leave their clients; use "
            "u_shaped=False"
        )
    if model.party == "clients":
        yield synchrony_is(
            "synchronous",
            "buffered",
            otherwise="{component} changes messages, but the server of {protocol} goes on with smashed data that it "
            "kept from earlier rounds, which are computed again and not changed again; use another protocol, such as "
            "SplitFedV2",
        )
    if attack.needs_answers:
        yield steps_in_round(
            2,
            "{component} goes by the cut gradients of a client's earlier steps in the round, but a client takes one "
            "step a round; give Training a batch_size or more local_epochs",
        )
