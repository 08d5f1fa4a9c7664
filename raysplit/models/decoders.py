"""Decoders: networks from smashed data to inputs, in four sizes."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

Decoder = Literal["small", "wide", "residual", "deep"]
"""Four sizes, because the decoder decides more than the name of the attack (ResSFL reports the strongest of four)."""
DECODERS: tuple[Decoder, ...] = ("small", "wide", "residual", "deep")
_WIDTH = {"small": 16, "wide": 64, "residual": 32, "deep": 64}
_BLOCKS = {"small": 0, "wide": 0, "residual": 2, "deep": 4}


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(x + self.inner(x))


def decoder(kind: Decoder, z_shape: tuple[int, ...], input_shape: tuple[int, int, int]) -> nn.Module:
    """A network from smashed data [n, *z_shape] to inputs [n, C, H, W]; its last layer is linear.

    Vectors are first spread over a grid of an eighth of the image's side; grids are doubled until they reach its size,
    and cropped or stretched to it by interpolation.
    """
    channels, height, width = input_shape
    hidden = _WIDTH[kind]
    layers: list[nn.Module] = []
    if len(z_shape) == 3:
        depth, side = z_shape[0], z_shape[1]
    else:
        side = max(2, math.ceil(height / 8))
        depth = hidden
        layers += [
            nn.Flatten(),
            nn.Linear(math.prod(z_shape), depth * side * side),
            nn.Unflatten(1, (depth, side, side)),
        ]
    layers += [nn.Conv2d(depth, hidden, 3, padding=1), nn.ReLU()]
    layers += [_Residual(hidden) for _ in range(_BLOCKS[kind])]
    while 2 * side <= height:
        layers += [nn.ConvTranspose2d(hidden, hidden, 4, stride=2, padding=1), nn.ReLU()]
        side *= 2
    if side != height:
        layers.append(nn.Upsample((height, width), mode="bilinear", align_corners=False))
    layers.append(nn.Conv2d(hidden, channels, 3, padding=1))
    return nn.Sequential(*layers)
