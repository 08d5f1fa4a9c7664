"""A main server that trains on random labels: the attacker of SplitGuard's experiments, which steals nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from raysplit import rng
from raysplit.attacks.messages.hook_attack import AttackStart, HookAttack
from raysplit.attacks.messages.message_attack import checked, server_threat
from raysplit.attacks.messages.tampering import Tampered
from raysplit.channels.channel import Channel, Party, ThreatModel
from raysplit.channels.hooks import MessageHook
from raysplit.channels.message import Message
from raysplit.parts.part import part
from raysplit.protocols.requirements import Requirement, labels_at_server


@part
class RandomLabels(HookAttack):
    """The main server draws labels anew for every batch that comes, uniformly from all classes, and answers with their
    gradients; its own portion learns on them too. Source: the notebook of Erdogan, Küpçü, Çiçek, "SplitGuard", WPES
    2022, where this stands for a hijacking server that has no use for labels.
    """

    start_round: int = 1

    def __post_init__(self) -> None:
        checked(self, self.start_round)

    @property
    def requires(self) -> tuple[Requirement, ...]:
        return (
            *super().requires,
            labels_at_server(
                "{component} replaces labels at the main server, but those of a U-shaped {protocol} never come there; "
                "use u_shaped=False"
            ),
        )

    @property
    def threat_model(self) -> ThreatModel:
        return server_threat(Channel.CUT_GRADIENTS, sees=(Channel.SMASHED,))

    def hook(self, start: AttackStart) -> MessageHook:
        return _Relabelling(start)


class _Relabelling(MessageHook):
    """One round of it: what the server portion gets of an arriving message has other labels."""

    party: Party = "main_server"
    channels = frozenset({Channel.SMASHED})

    def __init__(self, start: AttackStart) -> None:
        self._start = start
        self._tampered: dict[tuple[int, int], Tampered] = {}

    def change(self, message: Message, labels: torch.Tensor | None) -> Message:
        began = time.perf_counter()
        y = message.labels
        assert y is not None, "scenarios check that labels travel"
        draw = rng.torch_stream(self._start.seed, "random labels", message.round, message.client, message.step)
        drawn = torch.randint(self._start.classes, y.shape, generator=draw).to(y)
        done = Tampered(1, 1, 0.0, int((drawn != y).sum()), len(y), time.perf_counter() - began)
        key = (self._start.number, message.client)
        self._tampered[key] = self._tampered.get(key, Tampered()).plus(done)
        return replace(message, labels=drawn)

    def records(self) -> Mapping[str, Mapping[Any, Any]]:
        return {"tampered": self._tampered}
