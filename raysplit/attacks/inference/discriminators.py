"""Networks that tell smashed data from smashed data and images from images, and networks that are told a label."""

from __future__ import annotations

import math

import torch
from torch import nn

EMBEDDING = 50
"""Numbers that a label is turned into before it becomes a plane (SDAR's code)."""


class Labelled(nn.Module):
    """A network that is given one more plane, or ``EMBEDDING`` more numbers where samples are vectors, made of a label.

    ``shape``: of a sample without it; ``within``: the network, built for ``with_label(shape)``."""

    def __init__(self, shape: tuple[int, ...], classes: int, within: nn.Module) -> None:
        super().__init__()
        self.shape = (1, *shape[1:]) if len(shape) == 3 else (EMBEDDING,)
        self.plane = nn.Sequential(nn.Embedding(classes, EMBEDDING), nn.Linear(EMBEDDING, math.prod(self.shape)))
        self.within = within

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.within(torch.cat([x, self.plane(labels).view(len(x), *self.shape)], 1))
        return out


class Unlabelled(nn.Module):
    """A network that is handed a label and does not look at it."""

    def __init__(self, within: nn.Module) -> None:
        super().__init__()
        self.within = within

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        out: torch.Tensor = self.within(x)
        return out


def with_label(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a sample that ``Labelled`` hands on."""
    return (shape[0] + 1, *shape[1:]) if len(shape) == 3 else (math.prod(shape) + EMBEDDING,)


def of_smashed(shape: tuple[int, ...], width: int) -> nn.Module:
    """From smashed data [B, *shape] to a logit each, [B, 1]: two convolutions (dense layers where samples are vectors)
    of ``width`` and twice that, with dropout."""
    if len(shape) != 3:
        hidden = [nn.Flatten(), nn.Linear(math.prod(shape), width), nn.LeakyReLU(0.2), nn.Dropout(0.4)]
        return nn.Sequential(*hidden, nn.Linear(width, 2 * width), nn.LeakyReLU(0.2), nn.Linear(2 * width, 1))
    channels, height, side = shape
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Dropout(0.4),
        nn.Linear(2 * width * ((height + 1) // 2) * ((side + 1) // 2), 1),
    )


def of_images(shape: tuple[int, ...], width: int) -> nn.Module:
    """From images [B, *shape] to a logit each, [B, 1]: four convolutions, three of which halve the grid."""
    layers: list[nn.Module] = []
    depth, height, side = shape
    for wide, stride in ((max(1, width // 2), 1), (width, 2), (width, 2), (2 * width, 2)):
        layers += [nn.Conv2d(depth, wide, 3, stride=stride, padding=1), nn.LeakyReLU(0.2)]
        depth, height, side = wide, -(-height // stride), -(-side // stride)
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.4), nn.Linear(depth * height * side, 1))
