"""A client portion of an architecture that nobody knows: a network that fits what goes in and what comes out."""

from __future__ import annotations

import math

import torch
from torch import nn


class _Onto(nn.Module):
    """From [B, C, H', W'] to [B, *shape]: averaged or repeated onto the grid, or a dense layer where samples are
    vectors. ``positive``: cut at 0."""

    def __init__(self, channels: int, grid: tuple[int, int], shape: tuple[int, ...], positive: bool) -> None:
        super().__init__()
        last: list[nn.Module]
        if len(shape) == 3:
            last = [nn.Conv2d(channels, shape[0], 3, padding=1), nn.AdaptiveAvgPool2d((shape[1], shape[2]))]
        else:
            last = [nn.Flatten(), nn.Linear(channels * grid[0] * grid[1], math.prod(shape)), nn.Unflatten(1, shape)]
        self.last = nn.Sequential(*last, nn.ReLU() if positive else nn.Identity())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.last(x)
        return out


def substitute_portion(
    input_shape: tuple[int, int, int], z_shape: tuple[int, ...], width: int, positive: bool
) -> nn.Module:
    """From images [B, *input_shape] to smashed data [B, *z_shape], as VGG would: pairs of 3×3 convolutions of ``width``
    and then twice that with BatchNorm and ReLU, halved until the grid is that of z (an eighth of the image where z is
    a vector). ``positive``: z is never below 0, as behind a ReLU."""
    channels, height, side = input_shape
    goal = z_shape[1] if len(z_shape) == 3 else max(1, height // 8)
    layers: list[nn.Module] = []
    wide = width
    for _ in range(2):
        layers += [nn.Conv2d(channels, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.ReLU()]
        channels = wide
    while height // 2 >= goal and height // 2 >= 1:
        wide = min(2 * wide, 4 * width)
        layers += [nn.MaxPool2d(2), nn.Conv2d(channels, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.ReLU()]
        channels, height, side = wide, height // 2, side // 2
    return nn.Sequential(*layers, _Onto(channels, (height, side), z_shape, positive))
