"""What the image networks ask of their samples, and shared initialisation."""

from __future__ import annotations

import math

from torch import nn

from raysplit.errors import ScenarioError
from raysplit.parts.part import within


def check_images(kind: str, input_shape: tuple[int, int, int], classes: int, smallest: int) -> None:
    """Raise ``ScenarioError`` unless ``input_shape`` is (channels, height, width) with sides of at least ``smallest``
    pixels."""
    channels, height, width = input_shape
    within(f"{kind}.classes", classes, 2)
    if channels < 1 or min(height, width) < smallest:
        raise ScenarioError(
            f"{kind} takes images (channels, height, width) of at least {smallest}×{smallest} pixels, "
            f"but input_shape is {input_shape}"
        )


def initialise_by_fan_out(network: nn.Module, linear_std: float | None = None) -> None:
    """He et al.'s normal initialisation, σ = √(2 / (k² · channels out)), with biases 0.

    ``linear_std``: σ of fully connected weights, with biases 0; None leaves them and the biases of convolutions as
    torch makes them.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            height, width = module.kernel_size
            nn.init.normal_(module.weight, 0, math.sqrt(2 / (height * width * module.out_channels)))
            if module.bias is not None and linear_std is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear) and linear_std is not None:
            nn.init.normal_(module.weight, 0, linear_std)
            nn.init.zeros_(module.bias)
