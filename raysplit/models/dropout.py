"""Dropout whose masks are named, not taken from a running stream: a client's step drops the same units wherever and
however it is played.

A mask is a function of the scenario's seed, the round, the client, its step and the layer's number in the whole network
(``keyed.py``).
"""

from __future__ import annotations

import torch
from torch import nn

from raysplit import rng
from raysplit.models.keyed import KeyedLayer, StepKey


class SeededDropout(KeyedLayer):
    """``nn.Dropout`` (or, with ``channels``, ``nn.Dropout1d`` to ``3d``, which drop whole channels) with the streams
    (seed, "dropout", round, client, step, number, use).

    A layer that is used several times in one step draws anew each time. Raises ``RuntimeError`` in training before
    ``set_key``.
    """

    def __init__(self, p: float, number: int, channels: bool = False) -> None:
        super().__init__()
        self.p, self.number, self.channels = p, number, channels
        self._key: StepKey | None = None
        self._calls = 0

    def set_key(self, key: StepKey | None) -> None:
        self._key, self._calls = key, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        if self._key is None:
            raise RuntimeError("a dropout layer trains before anybody said whose step it is; call key_layers() first")
        seed, *whose = self._key
        generator = rng.torch_stream(seed, "dropout", *whose, self.number, self._calls)
        self._calls += 1
        shape = (*x.shape[:2], *(1 for _ in x.shape[2:])) if self.channels else x.shape
        kept = torch.rand(shape, generator=generator) >= self.p
        return x * kept.to(x.device, x.dtype).div_(1 - self.p) if self.p < 1 else x * 0

    def extra_repr(self) -> str:
        return f"p={self.p}, number={self.number}"


def seed_dropout(network: nn.Module) -> None:
    """Replace torch's dropout layers in place by seeded ones, numbered in the order of the network's modules."""
    seeded: dict[nn.Module, SeededDropout] = {}
    for parent in list(network.modules()):
        for name, child in list(parent._modules.items()):  # named_children() would pass over a layer used twice
            if isinstance(child, nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d) and child.p > 0:
                if child not in seeded:
                    seeded[child] = SeededDropout(child.p, len(seeded), not isinstance(child, nn.Dropout))
                setattr(parent, name, seeded[child])
