"""A malicious main server: it needs no malicious client, and every client portion goes through its hands."""

from __future__ import annotations

from typing import Literal

import torch

from raysplit.attacks.messages.message_attack import MessageAttack, MessageView, checked, server_threat
from raysplit.attacks.messages.shapes import Kind, tampered, with_tensor
from raysplit.channels.channel import Channel, ThreatModel
from raysplit.channels.message import Message
from raysplit.errors import ScenarioError
from raysplit.parts.part import part


@part
class ServerTampering(MessageAttack):
    """``cut_gradients``, or with ``channel="features"`` a U-shape's features, turned round, stretched, replaced by
    noise of ``factor`` times their length, or zero, on their way to ``victims`` (client ids; None: everybody). The
    server portion itself learns honestly.
    """

    kind: Kind = "flip"
    factor: float = 1.0
    channel: Literal["cut_gradients", "features"] = "cut_gradients"
    victims: tuple[int, ...] | None = None
    start_round: int = 1

    def __post_init__(self) -> None:
        checked(self, self.start_round, factor=self.factor)
        _check_victims(self, self.victims)

    @property
    def threat_model(self) -> ThreatModel:
        return server_threat(Channel(self.channel))

    def alter(self, message: Message, view: MessageView) -> Message:
        if self.victims is not None and view.client not in self.victims:
            return message
        return with_tensor(message, tampered(self.kind, self.factor, message.tensor, view.rng))


@part
class ServerSteering(MessageAttack):
    """Cut gradients that pull the client portion to where all samples look alike, instead of those of the task.

    g_i' ∝ z_i − t, the gradient of ½‖z_i − t‖² at the smashed data that the client just sent, where t is 0 or the
    batch's mean; as a whole it is ``strength`` times as long as the honest answer, ‖g'‖ = strength·‖g‖. What a client
    portion forgets no server portion can bring back. The same lever, with a learned target, is the feature-space
    hijacking of Pasquini et al. 2021.
    """

    target: Literal["mean", "zero"] = "mean"
    strength: float = 1.0
    victims: tuple[int, ...] | None = None
    start_round: int = 1

    def __post_init__(self) -> None:
        checked(self, self.start_round, strength=self.strength)
        _check_victims(self, self.victims)

    @property
    def threat_model(self) -> ThreatModel:
        return server_threat(Channel.CUT_GRADIENTS, sees=(Channel.SMASHED,))

    def alter(self, message: Message, view: MessageView) -> Message:
        if self.victims is not None and view.client not in self.victims:
            return message
        z, g = view.seen[Channel.SMASHED].tensor, message.tensor
        pull = z - z.mean(0, keepdim=True) if self.target == "mean" else z
        reach = torch.linalg.vector_norm(pull)
        if reach == 0:
            return with_tensor(message, torch.zeros_like(g))
        return with_tensor(message, pull * (self.strength * torch.linalg.vector_norm(g) / reach))


def _check_victims(attack: object, victims: tuple[int, ...] | None) -> None:
    if victims is not None and (not victims or min(victims) < 0):
        raise ScenarioError(
            f"{type(attack).__name__}.victims are client ids from 0 on, one or more, or None for everybody, but they "
            f"are {victims!r}"
        )
