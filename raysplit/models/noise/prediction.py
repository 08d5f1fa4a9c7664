"""Prediction of a network with a noise layer: the mean of its softmax over draws of the noise (Lecuyer et al. 2019,
section 3.4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from raysplit.models.noise.layer import NoiseLayer, StreamName, noise_layers_in


@dataclass(frozen=True)
class AveragedDraws:
    """``draws`` passes with noise from the streams (seed, purpose, which…, draw)."""

    layers: Sequence[NoiseLayer]
    seed: int
    purpose: str
    draws: int

    def scores(self, logits: Callable[[], torch.Tensor], *which: int) -> torch.Tensor:
        """ln (1/n Σ_j softmax_k(logits with draw j)) of every sample and class k, [B, classes], which is as good as
        logits: their cross-entropy is −ln of the mean score of the label. ``logits``: one pass of the batch
        ``which``."""
        total: torch.Tensor | None = None
        for draw in range(self.draws):
            with noise_from(self.layers, StreamName(self.seed, self.purpose, (*which, draw))):
                single = torch.log_softmax(logits(), 1)
            total = single if total is None else torch.logaddexp(total, single)
        assert total is not None
        return total - math.log(self.draws)


@contextmanager
def noise_from(layers: Sequence[NoiseLayer], stream: StreamName) -> Iterator[None]:
    """Within, the layers draw from ``stream``."""
    for layer in layers:
        layer.draw_from(stream)
    try:
        yield
    finally:
        for layer in layers:
            layer.draw_from(None)


def averaged_draws(modules: Iterable[nn.Module], seed: int, purpose: str) -> AveragedDraws | None:
    """As many as the network's noise layer asks for; None: it has none."""
    layers = noise_layers_in(modules)
    return AveragedDraws(layers, seed, purpose, layers[0].draws) if layers else None
