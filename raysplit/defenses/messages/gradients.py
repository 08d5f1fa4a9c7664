"""Carrying out defences of gradients in a round: a hook where they leave the party that has the labels."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import torch

from raysplit import rng
from raysplit.channels.channel import Channel, Party
from raysplit.channels.hooks import MessageHook
from raysplit.channels.message import Message
from raysplit.defenses.messages.message_defense import DefenseView, GradientDefense, checked, laid_out


class GradientDefenseHook(MessageHook):
    """Defences of gradients in one round, one after another. ``u_shaped``: whether the labels are with the clients.
    ``exempt``: clients that do not obey."""

    def __init__(
        self,
        defenses: Sequence[tuple[int, GradientDefense]],
        seed: int,
        classes: int,
        u_shaped: bool,
        exempt: Collection[int],
    ) -> None:
        self.party: Party = "clients" if u_shaped else "main_server"
        self._channel = Channel.FEATURE_GRADIENTS if u_shaped else Channel.CUT_GRADIENTS
        # The main server takes note of labels as they arrive with smashed data, wherever it has a hook.
        self.channels = frozenset({self._channel})
        self._defenses, self._seed, self._classes = defenses, seed, classes
        self._exempt = exempt if u_shaped else ()

    def change(self, message: Message, labels: torch.Tensor | None) -> Message:
        if message.client in self._exempt:
            return message
        assert labels is not None, "the party at whose end this stands has the labels"
        whose = (message.round, message.client, message.step)
        gradients = message.tensor
        with torch.no_grad():
            for place, defense in self._defenses:
                draw = rng.torch_stream(self._seed, "gradient defense", *whose, place)
                made = defense.sent(gradients, DefenseView(self._classes, draw, labels))
                gradients = checked(defense, "sent", gradients, made)
        return replace(message, tensor=laid_out(gradients, message.tensor))
