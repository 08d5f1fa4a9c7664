"""What a network with a noise layer answers about one sample, draw by draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from raysplit.models.noise.layer import NoiseLayer, StreamName
from raysplit.models.noise.prediction import noise_from

BLOCK = 256
"""Draws in one pass"""


@dataclass(frozen=True)
class Drawn:
    """Over ``draws`` draws: in how many each class had the largest score, ``votes`` int64 [K], and the mean softmax,
    ``softmax`` float64 [K]."""

    draws: int
    votes: np.ndarray
    softmax: np.ndarray


@dataclass(frozen=True)
class NoisyNetwork:
    """``logits`` of what the network sees, [B, classes], with noise of ``layer``; ``seed``: names the streams."""

    logits: Callable[[torch.Tensor], torch.Tensor]
    layer: NoiseLayer
    seed: int

    def drawn(self, x: torch.Tensor, draws: int, purpose: str, sample: int) -> Drawn:
        """Of one sample [1, C, H, W], noise from the streams (seed, purpose, sample, block)."""
        votes, softmax = [], []
        with torch.no_grad():
            for block, begin in enumerate(range(0, draws, BLOCK)):
                count = min(BLOCK, draws - begin)
                logits = self.once(x.expand(count, *x.shape[1:]), purpose, sample, block).double().cpu()
                votes.append(torch.bincount(logits.argmax(1), minlength=logits.shape[1]).numpy())
                softmax.append(logits.softmax(1).sum(0).numpy())
        return Drawn(draws, np.sum(votes, axis=0), np.sum(softmax, axis=0) / draws)

    def once(self, x: torch.Tensor, purpose: str, *which: int) -> torch.Tensor:
        """One pass, each row of ``x`` with noise of its own."""
        with noise_from([self.layer], StreamName(self.seed, purpose, which)):
            return self.logits(x.contiguous(memory_format=torch.channels_last))
