"""AlexNet in two forms: the small one for CIFAR-10 of the poisoning papers, and the one of 60 million parameters."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from raysplit.models.images import check_images
from raysplit.models.network import ModelSpec
from raysplit.parts.part import part, within


@part
class AlexNet(ModelSpec):
    """For CIFAR-10, five convolutions "followed by a fully connected layer": 2,472,266 parameters.

    Khan et al. 2022 give no widths; these are those of Shejwalkar and Houmansadr's code (NDSS'21), an inference. Cuts
    V1, V2, V3 = after the 1st, 2nd, 3rd max-pooling: client portions of 23,296, 330,688 and 2,469,696 parameters.
    Pooling comes before ReLU, which is equal.
    """

    input_shape: tuple[int, int, int] = (3, 32, 32)
    classes: int = 10
    cut: str | None = "V2"
    tail: str | None = None

    def __post_init__(self) -> None:
        check_images("AlexNet", self.input_shape, self.classes, 29)

    @property
    def cuts(self) -> Mapping[str, str]:
        return {"V1": "conv1", "V2": "conv2", "V3": "conv5"}

    def stages(self) -> list[tuple[str, nn.Module]]:
        channels, *sides = self.input_shape
        height, width = (((side - 1) // 4 + 1) // 8 for side in sides)
        return [
            ("conv1", _pooled(nn.Conv2d(channels, 64, 11, stride=4, padding=5), nn.MaxPool2d(2))),
            ("conv2", _pooled(nn.Conv2d(64, 192, 5, padding=2), nn.MaxPool2d(2))),
            ("conv3", nn.Sequential(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU())),
            ("conv4", nn.Sequential(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU())),
            ("conv5", _pooled(nn.Conv2d(256, 256, 3, padding=1), nn.MaxPool2d(2))),
            ("fc", nn.Sequential(nn.Flatten(), nn.Linear(256 * height * width, self.classes))),
        ]


@part
class AlexNetImageNet(ModelSpec):
    """AlexNet with its three fully connected layers and dropout, as torchvision has it: 61,100,840 parameters for 1,000
    classes.

    Thapa et al. 2022 give "60 million" parameters, 8 layers and the kernel sizes (Table 4), and cut after layer 2,
    "after 2D MaxPool layer": ``"layer2"``. How they brought 28×28, 32×32 and 600×450 pixels to a network that needs
    63×63 they do not say. Guesses here: smaller images are enlarged to 64×64 (bilinear, in the first stage), and an
    adaptive pooling to 6×6, as torchvision's, takes up any other size.

    ``units`` is the width of the first two fully connected layers.
    """

    input_shape: tuple[int, int, int] = (3, 64, 64)
    classes: int = 10
    units: int = 4096
    dropout: float = 0.5
    cut: str | None = "layer2"
    tail: str | None = None

    def __post_init__(self) -> None:
        check_images("AlexNetImageNet", self.input_shape, self.classes, 1)
        within("AlexNetImageNet.units", self.units, 1)
        within("AlexNetImageNet.dropout", self.dropout, 0, 1)

    @property
    def cuts(self) -> Mapping[str, str]:
        return {"layer2": "conv1"}

    def stages(self) -> list[tuple[str, nn.Module]]:
        channels, *sides = self.input_shape
        small = min(sides) < 63
        enlarged = [nn.Upsample(size=(64, 64), mode="bilinear", align_corners=False)] if small else []
        units, drop = self.units, self.dropout
        return [
            ("conv1", _pooled(*enlarged, nn.Conv2d(channels, 64, 11, stride=4, padding=2), nn.MaxPool2d(3, 2))),
            ("conv2", _pooled(nn.Conv2d(64, 192, 5, padding=2), nn.MaxPool2d(3, 2))),
            ("conv3", nn.Sequential(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU())),
            ("conv4", nn.Sequential(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU())),
            ("conv5", _pooled(nn.Conv2d(256, 256, 3, padding=1), nn.MaxPool2d(3, 2))),
            (
                "fc1",
                nn.Sequential(
                    nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Dropout(drop), nn.Linear(256 * 36, units), nn.ReLU()
                ),
            ),
            ("fc2", nn.Sequential(nn.Dropout(drop), nn.Linear(units, units), nn.ReLU())),
            ("fc3", nn.Linear(units, self.classes)),
        ]


def _pooled(*before: nn.Module) -> nn.Sequential:
    return nn.Sequential(*before, nn.ReLU())


def alexnet(
    input_shape: tuple[int, int, int] = (3, 32, 32), classes: int = 10, cut: str | None = "V2", tail: str | None = None
) -> AlexNet:
    """Khan et al.'s AlexNet for CIFAR-10, cut at ``"V1"``, ``"V2"``, ``"V3"`` or any stage name."""
    return AlexNet(input_shape, classes, cut, tail)


def alexnet_imagenet(
    input_shape: tuple[int, int, int] = (3, 64, 64),
    classes: int = 10,
    units: int = 4096,
    dropout: float = 0.5,
    cut: str | None = "layer2",
    tail: str | None = None,
) -> AlexNetImageNet:
    """Thapa et al.'s AlexNet with dropout, for any image size, cut at ``"layer2"`` or any stage name."""
    return AlexNetImageNet(input_shape, classes, units, dropout, cut, tail)
