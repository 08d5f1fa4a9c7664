"""Carrying out defences of smashed data: one after another, in training at the clients' end, and in use."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import torch

from raysplit import rng
from raysplit.channels.channel import Channel, Party
from raysplit.channels.hooks import MessageHook
from raysplit.channels.message import Message
from raysplit.defenses.messages.message_defense import (
    DefenseView,
    MessageDefense,
    SmashedDefense,
    checked,
    laid_out,
    of_smashed,
)

Numbered = Sequence[tuple[int, SmashedDefense]]
"""Defences of smashed data, each with its place in ``Scenario.message_defenses``"""
Draw = Callable[[int], torch.Generator]
"""The place of a defence → its stream"""


class SmashedDefenseHook(MessageHook):
    """Honest clients' defences in one round. What leaves is z′ = d(z); what comes back, ∂L/∂z′, reaches the client as
    ∂L/∂z = Jᵀ · ∂L/∂z′.

    ``exempt``: clients that do not obey. Of every client under way the graph of its last message is kept until the
    answer comes.
    """

    party: Party = "clients"
    channels: frozenset[Channel] = frozenset({Channel.SMASHED, Channel.CUT_GRADIENTS})

    def __init__(self, defenses: Numbered, seed: int, classes: int, exempt: Collection[int]) -> None:
        self._defenses, self._seed, self._classes, self._exempt = defenses, seed, classes, exempt
        self._under_way: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def change(self, message: Message, labels: torch.Tensor | None) -> Message:
        if message.client in self._exempt:
            return message
        if message.channel is Channel.CUT_GRADIENTS:
            leaf, made = self._under_way.pop(message.position)
            (gradient,) = torch.autograd.grad(made, leaf, message.tensor)
            return replace(message, tensor=laid_out(gradient, message.tensor))
        leaf = message.tensor.detach().requires_grad_()
        whose = (message.round, message.client, message.step)

        def draw(place: int) -> torch.Generator:
            return rng.torch_stream(self._seed, "smashed defense", *whose, place)

        with torch.enable_grad():
            made = defended(self._defenses, leaf, self._classes, draw, labels)
        self._under_way[message.position] = (leaf, made)
        size = sample_bytes([defense for _, defense in self._defenses], leaf)
        sent = None if size is None else size * len(leaf)
        return replace(message, tensor=laid_out(made, message.tensor), encoded_bytes=sent)


def defended(
    defenses: Numbered,
    z: torch.Tensor,
    classes: int,
    draw: Draw,
    labels: torch.Tensor | None = None,
    in_training: bool = True,
) -> torch.Tensor:
    """What goes on in place of z [B, …], with its graph. Raises ``ScenarioError`` where a defence gives back something of
    another kind."""
    for place, defense in defenses:
        view = DefenseView(classes, draw(place), labels, in_training)
        z = checked(defense, "sent", z, defense.sent(z, view))
    return z


def sample_bytes(defenses: Sequence[MessageDefense], z: torch.Tensor) -> int | None:
    """Of one sample's smashed data z [B, …] as the defences encode it; None: dense. The last of them says."""
    floats = z.shape[1:].numel()
    return encoded_sample(defenses, floats, z.element_size())


def encoded_sample(defenses: Sequence[MessageDefense], floats: int, float_bytes: int) -> int | None:
    """Of one sample's smashed data of so many floats; None: dense."""
    last = of_smashed(defenses)[-1:]
    return last[0][1].sample_bytes(floats, float_bytes) if last else None


@dataclass
class SmashedInUse:
    """Smashed data of a model that is evaluated or in use, as a defended client sends them; each batch draws anew, from
    streams of (``seed``, ``purpose``, ``index``, number of the batch)."""

    defenses: Numbered
    seed: int
    classes: int
    purpose: str
    index: int = 0
    batches: int = 0

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        """z′ [B, …] of z [B, …]."""
        if not self.defenses:
            return z
        batch, self.batches = self.batches, self.batches + 1

        def draw(place: int) -> torch.Generator:
            return rng.torch_stream(self.seed, f"smashed defense in {self.purpose}", self.index, batch, place)

        with torch.no_grad():
            return laid_out(defended(self.defenses, z, self.classes, draw, None, in_training=False), z)
