"""VGG (Simonyan and Zisserman 2015): configuration A for CIFAR-10 and configuration D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from raysplit.models.images import check_images, initialise_by_fan_out
from raysplit.models.network import ModelSpec
from raysplit.parts.part import part, within


@part
class Vgg11(ModelSpec):
    """Configuration A with one fully connected layer: 9,225,610 parameters for CIFAR-10.

    Khan et al. 2022 do not give the layers; these are those of Shejwalkar and Houmansadr's code (NDSS'21), an
    inference. Cuts V1, V2, V3 = after the 2nd, 3rd, 4th max-pooling: client portions of 75,648, 960,896 and 4,500,864
    parameters.
    """

    input_shape: tuple[int, int, int] = (3, 32, 32)
    classes: int = 10
    cut: str | None = "V2"
    tail: str | None = None

    def __post_init__(self) -> None:
        check_images("Vgg11", self.input_shape, self.classes, 32)

    @property
    def cuts(self) -> Mapping[str, str]:
        return {"V1": "conv2", "V2": "conv3_2", "V3": "conv4_2"}

    def stages(self) -> list[tuple[str, nn.Module]]:
        channels, *sides = self.input_shape
        height, width = (side // 32 for side in sides)
        stages = _convolutions(
            channels, {"conv1": [64], "conv2": [128], "conv3": [256] * 2, "conv4": [512] * 2, "conv5": [512] * 2}
        )
        stages.append(("fc", nn.Sequential(nn.Flatten(), nn.Linear(512 * height * width, self.classes))))
        for _, stage in stages:
            initialise_by_fan_out(stage, linear_std=0.01)
        return stages


@part
class Vgg16(ModelSpec):
    """Configuration D with three fully connected layers and dropout, as torchvision has it: 138,357,544 parameters for
    1,000 classes.

    Thapa et al. 2022 (Table 4: "138 million") cut after layer 4, "after 2D MaxPool layer": ``"layer4"``, read as the
    first max-pooling, which is number 4 when convolutions, ReLUs and poolings are counted from 0. An adaptive pooling
    to 7×7 takes up any image of at least 32×32. ``units`` is the width of the first two fully connected layers.
    """

    input_shape: tuple[int, int, int] = (3, 32, 32)
    classes: int = 10
    units: int = 4096
    dropout: float = 0.5
    cut: str | None = "layer4"
    tail: str | None = None

    def __post_init__(self) -> None:
        check_images("Vgg16", self.input_shape, self.classes, 32)
        within("Vgg16.units", self.units, 1)
        within("Vgg16.dropout", self.dropout, 0, 1)

    @property
    def cuts(self) -> Mapping[str, str]:
        return {"layer4": "conv1_2"}

    def stages(self) -> list[tuple[str, nn.Module]]:
        units, drop = self.units, self.dropout
        blocks = {"conv1": [64] * 2, "conv2": [128] * 2, "conv3": [256] * 3, "conv4": [512] * 3, "conv5": [512] * 3}
        stages = _convolutions(self.input_shape[0], blocks)
        stages += [
            (
                "fc1",
                nn.Sequential(
                    nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(512 * 49, units), nn.ReLU(), nn.Dropout(drop)
                ),
            ),
            ("fc2", nn.Sequential(nn.Linear(units, units), nn.ReLU(), nn.Dropout(drop))),
            ("fc3", nn.Linear(units, self.classes)),
        ]
        for _, stage in stages:
            initialise_by_fan_out(stage, linear_std=0.01)
        return stages


def _convolutions(channels: int, blocks: Mapping[str, Sequence[int]]) -> list[tuple[str, nn.Module]]:
    """3×3 convolutions, one a stage; the last of a block is pooled, before its ReLU, which is equal to after it."""
    stages: list[tuple[str, nn.Module]] = []
    for block, widths in blocks.items():
        for index, width in enumerate(widths, 1):
            pooling = [nn.MaxPool2d(2)] if index == len(widths) else []
            name = block if len(widths) == 1 else f"{block}_{index}"
            stages.append((name, nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), *pooling, nn.ReLU())))
            channels = width
    return stages


def vgg11(
    input_shape: tuple[int, int, int] = (3, 32, 32), classes: int = 10, cut: str | None = "V2", tail: str | None = None
) -> Vgg11:
    """Khan et al.'s VGG11 for CIFAR-10, cut at ``"V1"``, ``"V2"``, ``"V3"`` or any stage name."""
    return Vgg11(input_shape, classes, cut, tail)


def vgg16(
    input_shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    units: int = 4096,
    dropout: float = 0.5,
    cut: str | None = "layer4",
    tail: str | None = None,
) -> Vgg16:
    """Thapa et al.'s VGG16 with dropout, cut at ``"layer4"`` or any stage name."""
    return Vgg16(input_shape, classes, units, dropout, cut, tail)
