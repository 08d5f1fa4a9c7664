"""Carrying out attacks on messages in a round: a hook at the end of the malicious party."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch

from raysplit import rng
from raysplit.attacks.attack import Attack
from raysplit.attacks.messages.message_attack import MessageAttack, MessageView
from raysplit.attacks.scheduled import attacks_in_force
from raysplit.channels.channel import Channel, Party
from raysplit.channels.hooks import MessageHook
from raysplit.channels.message import Message
from raysplit.errors import ScenarioError


class Tampered(NamedTuple):
    """What an attack did to one client's messages in a round: how many it ``changed`` of the ``messages`` that it was
    shown; sums over the changed ones of |z' − z| / |z| (``change``; NaN where there was no honest message); labels
    changed, of ``labels``; seconds."""

    messages: int = 0
    changed: int = 0
    change: float = 0.0
    relabelled: int = 0
    labels: int = 0
    seconds: float = 0.0

    def plus(self, other: Tampered) -> Tampered:
        return Tampered(
            self.messages + other.messages,
            self.changed + other.changed,
            self.change + other.change,
            self.relabelled + other.relabelled,
            self.labels + other.labels,
            self.seconds + other.seconds,
        )


Records = dict[tuple[int, int], Tampered]
"""(number of the attack among those in force in the round, client id) → what it did"""


@dataclass
class Tampering(MessageHook):
    """The attacks of one party in one round. ``ranks``: the malicious clients, by id; None: the main server is
    malicious, and tampers with whatever it sends.

    A client's messages come in the order of its steps on every engine, and nothing passes from one client to another
    here.
    """

    party: Party
    attacks: Mapping[int, MessageAttack]
    seed: int
    round: int
    classes: int
    ranks: Mapping[int, int] | None = None
    tampered: Records = field(default_factory=dict)
    _seen: dict[int, dict[Channel, Message]] = field(default_factory=dict)
    _memory: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        models = [attack.threat_model for attack in self.attacks.values()]
        self._sees: frozenset[Channel] = frozenset().union(*(model.sees for model in models))
        self.channels = self._sees.union(*(model.changes for model in models))

    def records(self) -> Mapping[str, Records]:
        return {"tampered": self.tampered}

    def change(self, message: Message, labels: torch.Tensor | None) -> Message:
        """What leaves the party of a message of its own; one that it gets it only sees. ``labels``: the true ones,
        [B]."""
        if self.ranks is not None and message.client not in self.ranks:
            return message
        seen = self._seen.setdefault(message.client, {})
        sent = message
        for number, attack in self.attacks.items():
            if message.channel in attack.threat_model.changes:
                sent = self._alter(number, attack, sent, labels, seen)
        if message.channel in self._sees:
            seen[message.channel] = replace(message, labels=labels)
        return sent

    def _alter(
        self,
        number: int,
        attack: MessageAttack,
        message: Message,
        labels: torch.Tensor | None,
        seen: Mapping[Channel, Message],
    ) -> Message:
        began = time.perf_counter()
        channels = attack.threat_model.sees
        view = MessageView(
            client=message.client,
            rank=None if self.ranks is None else self.ranks[message.client],
            classes=self.classes,
            round=self.round,
            step=message.step,
            labels=labels,
            seen={channel: heard for channel, heard in seen.items() if channel in channels},
            memory=self._memory.setdefault((number, message.client), {}),
            rng=rng.stream(
                self.seed,
                "alter",
                self.round,
                message.client,
                message.step,
                number,
                _ORDER.index(message.channel),
            ),
        )
        versions = [tensor._version for tensor in (message.tensor, message.labels) if tensor is not None]
        with torch.no_grad():
            altered = attack.alter(message, view)
        if versions != [tensor._version for tensor in (message.tensor, message.labels) if tensor is not None]:
            raise ScenarioError(
                f"{type(attack).__name__}.alter() wrote into the message that it was shown; it may only return "
                "another: work on a copy"
            )
        sent, done = message, Tampered(messages=1)
        if altered is not message:
            sent = _fitted(type(attack).__name__, message, altered, self.classes)
            done = _difference(message, sent)
        key = (number, message.client)
        done = done._replace(seconds=time.perf_counter() - began)
        self.tampered[key] = self.tampered.get(key, Tampered()).plus(done)
        return sent


_ORDER = list(Channel)


def _fitted(name: str, message: Message, altered: Message, classes: int) -> Message:
    """The altered message with the original's address and memory layout; raises ``ScenarioError`` where it is of
    another kind."""
    if not isinstance(altered, Message) or not isinstance(altered.tensor, torch.Tensor):
        got = f"one of a {type(altered.tensor).__name__}" if isinstance(altered, Message) else type(altered).__name__
        raise ScenarioError(
            f"{name}.alter() must return a Message of a tensor, but it returned {got}; write return replace(message, "
            "tensor=...)"
        )
    old, new = message.tensor, altered.tensor
    if new.shape != old.shape or new.dtype != old.dtype:
        raise ScenarioError(
            f"{name}.alter() must return a tensor like the one it got, {tuple(old.shape)} of {old.dtype}, but it "
            f"returned {tuple(new.shape)} of {new.dtype}"
        )
    if new is not old:  # kernels choose their order of summation by strides, and the wire keeps them
        placed = torch.empty_like(old)
        new = placed.copy_(new)
    labels = altered.labels
    if (labels is None) != (message.labels is None) or (
        labels is not None
        and message.labels is not None
        and (labels.shape != message.labels.shape or labels.dtype != message.labels.dtype)
    ):
        raise ScenarioError(
            f"{name}.alter() must return as many labels as it got, whole numbers, or none where there were none"
        )
    if (
        labels is not None
        and labels is not message.labels
        and len(labels)
        and (int(labels.min()) < 0 or int(labels.max()) >= classes)
    ):
        raise ScenarioError(f"{name}.alter() returned labels outside of 0 to {classes - 1}")
    return replace(message, tensor=new, labels=labels)


def _difference(before: Message, after: Message) -> Tampered:
    change, relabelled = 0.0, 0
    if after.tensor is not before.tensor:
        moved = float(torch.linalg.vector_norm(after.tensor - before.tensor))
        length = float(torch.linalg.vector_norm(before.tensor))
        change = moved / length if length > 0 else (0.0 if moved == 0 else float("inf"))
    count = 0 if before.labels is None else len(before.labels)
    if before.labels is not None and after.labels is not None and after.labels is not before.labels:
        relabelled = int((after.labels != before.labels).sum())
    return Tampered(1, 1, change, relabelled, count)


def tampering_of(
    attack: Attack | None, party: Party, seed: int, round: int, classes: int, ranks: Mapping[int, int]
) -> Tampering | None:
    """What a party does to messages in a round; None where it is honest."""
    own_attacks = {
        number: single
        for number, single in enumerate(attacks_in_force(attack, round))
        if isinstance(single, MessageAttack) and single.threat_model.party == party
    }
    if not own_attacks or (party == "clients" and not ranks):
        return None
    return Tampering(party, own_attacks, seed, round, classes, ranks if party == "clients" else None)


def attack_rows(attack: Attack | None, round: int, records: Records) -> list[dict[str, Any]]:
    """A row of ``attacks.arrow`` for every attack on messages that was carried out; sums are taken in the order of
    client ids."""
    rows = []
    for number, single in enumerate(attacks_in_force(attack, round)):
        attack_records = [records[key] for key in sorted(records) if key[0] == number]
        if not attack_records:
            continue
        total = Tampered()
        for one in attack_records:
            total = total.plus(one)
        known = total.changed > 0 and not math.isnan(total.change)
        by_clients = single.threat_model.party == "clients"
        rows.append(
            {
                "round": round,
                "attack": type(single).__name__,
                "m": sum(one.changed > 0 for one in attack_records) if by_clients else 0,
                "knowledge": single.threat_model.knowledge,
                "messages": total.changed,
                "relative_change": total.change / total.changed if known else None,
                "relabelled": total.relabelled / total.labels if total.labels else None,
                "seconds": total.seconds,
            }
        )
    return rows
