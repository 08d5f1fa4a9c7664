"""Adversaries for tests of detection: clients with wrong labels or a backdoor in their data, and a hook that alters
what malicious clients send."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from raysplit.channels.channel import Channel
from raysplit.channels.hooks import MessageHook
from raysplit.channels.message import Message
from raysplit.parts.part import part
from raysplit.population.population import Population, PopulationInfo, PopulationSpec, Samples
from raysplit.population.selection.cohort import malicious_ranks


def liars_of(clients: int, share: float, seed: int = 42) -> frozenset[int]:
    """Whom ``Cohort(malicious=share)`` makes malicious."""
    return frozenset(np.flatnonzero(malicious_ranks(seed, clients) < round(share * clients)).tolist())


@part
class Poisoned(PopulationSpec):
    """``base`` whose malicious clients train on other data: all labels moved on by ``shift``, or, with ``target`` ≥ 0,
    half of the samples with a square in a corner and that label. With ``triggered`` everybody's test samples are those
    not of ``target``, so marked.
    """

    base: PopulationSpec
    malicious: float
    shift: int = 0
    target: int = -1
    triggered: bool = False

    def open(self) -> OpenPoisoned:
        return OpenPoisoned(self, self.base.open())


@dataclass
class OpenPoisoned:
    spec: Poisoned
    base: Population

    def __post_init__(self) -> None:
        self.malicious = liars_of(self.base.info.clients, self.spec.malicious)

    @property
    def info(self) -> PopulationInfo:
        return self.base.info

    def train_sizes(self, clients: np.ndarray) -> np.ndarray:
        return self.base.train_sizes(clients)

    def test_sizes(self, clients: np.ndarray) -> np.ndarray:
        if not self.spec.triggered:
            return self.base.test_sizes(clients)
        return np.array([len(self.test(int(client)).y) for client in clients], dtype=np.int64)

    def train(self, client: int) -> Samples:
        found = self.base.train(client)
        if client not in self.malicious:
            return found
        if self.spec.target < 0:
            return Samples(found.x, (found.y + self.spec.shift) % self.info.classes)
        chosen = torch.arange(len(found.y)) % 2 == 0
        return Samples(
            torch.where(chosen.view(-1, 1, 1, 1), with_square(found.x), found.x),
            torch.where(chosen, self.spec.target, found.y),
        )

    def test(self, client: int) -> Samples:
        found = self.base.test(client)
        if not self.spec.triggered:
            return found
        others = found.y != self.spec.target
        return Samples(with_square(found.x[others]), torch.full((int(others.sum()),), self.spec.target))


def with_square(x: torch.Tensor) -> torch.Tensor:
    """Images [B, C, H, W] with the trigger in a corner, 5 × 5 pixels of another shade than the ground."""
    marked = x.clone()
    marked[:, :, 1:6, 1:6] = 255 - marked[:, :, 1:6, 1:6]
    return marked


class Altering(MessageHook):
    """Replaces what some clients send on a channel: ``alter(tensor)``."""

    party = "clients"

    def __init__(self, malicious, alter, channel=Channel.SMASHED):
        self.malicious, self.alter, self.channels = malicious, alter, frozenset({channel})

    def change(self, message: Message, labels: torch.Tensor | None) -> Message:
        if message.client not in self.malicious:
            return message
        return replace(message, tensor=self.alter(message.tensor))
