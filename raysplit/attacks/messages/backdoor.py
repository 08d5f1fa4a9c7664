"""A client backdoor through the cut: a trigger in smashed space instead of in pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch

from raysplit import rng
from raysplit.attacks.data.data_attack import TestView, check_class
from raysplit.attacks.messages.message_attack import MessageAttack, MessageView, checked, client_threat
from raysplit.attacks.messages.shapes import column
from raysplit.channels.channel import Channel, ThreatModel
from raysplit.channels.message import Message
from raysplit.models.network import ModelSpec
from raysplit.parts.part import part, within
from raysplit.population.population import Samples


@part
class SmashedBackdoor(MessageAttack):
    """A ``share`` of a malicious client's samples, drawn at random, travels with a pattern added and the label
    ``target``.

    z' = z + ``strength``·r·u: u of ±1, drawn once from ``pattern`` for all colluders and rounds, on a ``coordinates``
    share of the smashed coordinates and 0 elsewhere; r the root mean square of the client's own batch. At test a
    malicious client sends its own smashed data with the same pattern (``triggered``) and the server answers ``target``:
    evaluations count how often, over test samples of other classes, a client's whole test set at a time. In the manner
    of VILLAIN's additive trigger on embeddings (USENIX Security 2023; not at hand).
    """

    target: int = 0
    share: float = 0.5
    strength: float = 2.0
    coordinates: float = 0.25
    pattern: int = 0
    start_round: int = 1

    changes_labels: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checked(self, self.start_round, share=self.share, strength=self.strength, coordinates=self.coordinates)
        within("SmashedBackdoor.share", self.share, 0, 1)
        within("SmashedBackdoor.coordinates", self.coordinates, 0, 1)
        within("SmashedBackdoor.pattern", self.pattern, 0)
        check_class("SmashedBackdoor.target", self.target)

    @property
    def threat_model(self) -> ThreatModel:
        return client_threat(Channel.SMASHED)

    def fits(self, model: ModelSpec) -> None:
        check_class("SmashedBackdoor.target", self.target, model)

    def attempts(self, view: TestView) -> Samples:
        others = view.own.y != self.target
        return Samples(view.own.x[others], torch.full_like(view.own.y[others], self.target))

    def alter(self, message: Message, view: MessageView) -> Message:
        assert message.labels is not None, "scenarios check that labels travel"
        z, y = message.tensor, message.labels
        hit = torch.from_numpy(view.rng.random(len(y)) < self.share).to(y.device)
        if not bool(hit.any()):
            return message
        return replace(
            message,
            tensor=torch.where(column(hit, z), self.triggered(z), z),
            labels=torch.where(hit, torch.full_like(y, self.target), y),
        )

    def triggered(self, z: torch.Tensor) -> torch.Tensor:
        """A batch of smashed data [B, …] with the pattern added to every sample."""
        draw = rng.stream(self.pattern, "smashed_backdoor")
        q = z[0].numel()
        u = draw.integers(0, 2, q) * 2.0 - 1.0
        u[draw.permutation(q) >= max(1, round(self.coordinates * q))] = 0.0
        size = self.strength * torch.sqrt(z.square().mean())
        return z + size * torch.from_numpy(u).to(z).view(1, *z.shape[1:])
