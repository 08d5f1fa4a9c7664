"""A generator of images in the manner of DCGAN, as the client-side attack of Pasquini et al. 2021 trains one."""

from __future__ import annotations

import torch
from torch import nn

from raysplit import rng

_SLOPE = 0.3
"""Of leaky ReLUs in Keras, in which the published code is written."""


class Generator(nn.Module):
    """Noise [B, ``latent``] → images [B, C, H, W] between ``low`` and ``high``, channels_last.

    Dense to 4·``width`` maps on a grid of a quarter of the image's sides, then transposed 5×5 convolutions to
    2·``width``, ``width`` and C maps, the last two doubling the grid, with BatchNorm and leaky ReLU between them, tanh
    at the end, no biases. Sides that 4 does not divide are cut off at the right and at the bottom.
    """

    def __init__(
        self, latent: int, width: int, input_shape: tuple[int, int, int], low: float = -1.0, high: float = 1.0
    ) -> None:
        super().__init__()
        channels, self._height, self._width = input_shape
        grid = (-(-self._height // 4), -(-self._width // 4))
        first = 4 * width * grid[0] * grid[1]
        self._middle, self._half = (low + high) / 2, (high - low) / 2
        self.layers = nn.Sequential(
            nn.Linear(latent, first, bias=False),
            nn.BatchNorm1d(first),
            nn.LeakyReLU(_SLOPE),
            nn.Unflatten(1, (4 * width, *grid)),
            nn.ConvTranspose2d(4 * width, 2 * width, 5, padding=2, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(_SLOPE),
            nn.ConvTranspose2d(2 * width, width, 5, stride=2, padding=2, output_padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(_SLOPE),
            nn.ConvTranspose2d(width, channels, 5, stride=2, padding=2, output_padding=1, bias=False),
            nn.Tanh(),
        )

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.layers(noise)[:, :, : self._height, : self._width]
        return (self._middle + self._half * made).contiguous(memory_format=torch.channels_last)


def fresh_generator(
    seed: int, client: int, latent: int, width: int, input_shape: tuple[int, int, int], low: float, high: float
) -> Generator:
    """With weights from the run's streams, each client's its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.key(seed, "gan generator", client) >> 65)
        return Generator(latent, width, input_shape, low, high)
