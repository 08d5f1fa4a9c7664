"""ResNet-18 (He et al. 2016), as SplitFed experiments use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import nn

from raysplit.models.images import check_images, initialise_by_fan_out
from raysplit.models.network import ModelSpec
from raysplit.parts.part import part

_BLOCKS = ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1))
"""Width and stride of the eight residual blocks."""


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with BatchNorm beside a shortcut, which is projected where width or size change; ReLU of the
    sum."""

    def __init__(self, before: int, width: int, stride: int, bias: tuple[bool, bool]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=bias[0])
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=bias[1])
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride > 1 or before != width:
            self.shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=bias[1]), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


@part
class ResNet18(ModelSpec):
    """BatchNorm throughout, global average pooling; 11,689,512 parameters for 1,000 classes and three channels.

    Thapa et al. 2022 cut after the third layer, "after 2D BatchNormalization layer": ``"layer3"``, read as after the
    third convolution and its BatchNorm. That lies inside the first residual block, where two tensors would have to
    cross; the sum and its ReLU, which have no parameters, stay with the client, as in the authors' code. Z is [B, 64,
    16, 16] for 64×64 pixels, the client portion 83,520 parameters.

    ``form="splitfed"`` is the network of that code: all convolutions but the first two have biases, so its client
    portion, at ``"code"``, has 83,584 parameters. Its pooling by 7×7, which fails on 64×64 pixels, is adaptive here.
    """

    input_shape: tuple[int, int, int] = (3, 64, 64)
    classes: int = 7
    form: Literal["he", "splitfed"] = "he"
    cut: str | None = "layer3"
    tail: str | None = None

    def __post_init__(self) -> None:
        check_images("ResNet18", self.input_shape, self.classes, 1)

    @property
    def cuts(self) -> Mapping[str, str]:
        return {"layer3": "block1"} if self.form == "he" else {"layer3": "block1", "code": "block1"}

    def stages(self) -> list[tuple[str, nn.Module]]:
        stem = nn.Sequential(
            nn.Conv2d(self.input_shape[0], 64, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(64),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.ReLU(),
        )
        stages: list[tuple[str, nn.Module]] = [("stem", stem)]
        before = 64
        for number, (width, stride) in enumerate(_BLOCKS, 1):
            biased = self.form == "splitfed"
            stages.append(
                (f"block{number}", ResidualBlock(before, width, stride, bias=(biased and number > 1, biased)))
            )
            before = width
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, self.classes))
        for _, stage in stages:
            initialise_by_fan_out(stage)
        return [*stages, ("fc", head)]


def resnet18(
    input_shape: tuple[int, int, int] = (3, 64, 64),
    classes: int = 7,
    form: Literal["he", "splitfed"] = "he",
    cut: str | None = "layer3",
    tail: str | None = None,
) -> ResNet18:
    """Thapa et al.'s ResNet-18 (HAM10000: 64×64×3, 7 classes), cut at ``"layer3"`` or any stage name."""
    return ResNet18(input_shape, classes, form, cut, tail)
