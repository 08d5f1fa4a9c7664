"""The networks of a feature-space hijacking: a pilot encoder, its decoder and a critic, sized by the smashed data."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from raysplit.errors import ScenarioError

Shape = tuple[int, ...]


def check_grid(attack: str, z_shape: Shape) -> None:
    """Raise ``ScenarioError`` where a sample's smashed data have no grid."""
    if len(z_shape) != 3:
        raise ScenarioError(
            f"{attack} needs smashed data [channels, height, width], but a sample's are {list(z_shape)}; cut earlier"
        )


def pilot(input_shape: tuple[int, int, int], z_shape: Shape) -> nn.Module:
    """From inputs [B, C, H, W] to [B, *z_shape]: convolutions without activations, as published, halving the grid until
    it is that of the smashed data."""
    channels, height, width = z_shape
    depth, side = input_shape[0], input_shape[1]
    layers: list[nn.Module] = []
    for step in range(max(0, round(math.log2(side / height)))):
        wide = min(channels, 64 * 2**step)
        layers.append(nn.Conv2d(depth, wide, 3, stride=2, padding=1))
        depth = wide
    layers.append(nn.Conv2d(depth, channels, 3, padding=1))
    return nn.Sequential(*layers, _Stretch(height, width))


class _Stretch(nn.Module):
    """To the exact grid where halving does not end there."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[2:] == self.size:
            return x
        return functional.interpolate(x, self.size, mode="bilinear", align_corners=False)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x + self.inner(x)
        return out


def critic(z_shape: Shape, width: int, blocks: int, outputs: int = 1) -> nn.Module:
    """From smashed data [B, *z_shape] to ``outputs`` numbers each, [B, outputs]; no normalisation, which a gradient penalty forbids."""
    channels, height, side = z_shape
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        *(_Residual(width) for _ in range(blocks)),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, stride=2, padding=1),
        nn.Flatten(),
        nn.Linear(width * ((height + 1) // 2) * ((side + 1) // 2), outputs),
    )


def gradient_penalty(network: nn.Module, real: torch.Tensor, other: torch.Tensor, mix: torch.Tensor) -> torch.Tensor:
    """mean((‖∇D(ẑ)‖₂ − 1)²) at ẑ = mix·real + (1 − mix)·other, the norm over all of a sample. ``mix``: [B, 1, 1, 1]."""
    between = (mix * real + (1 - mix) * other).detach().requires_grad_()
    (slope,) = torch.autograd.grad(network(between).sum(), [between], create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()
