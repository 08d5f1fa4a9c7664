"""LeNet-5 (LeCun et al. 1998), as SplitFed experiments use it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from raysplit.models.images import check_images
from raysplit.models.network import ModelSpec
from raysplit.parts.part import part


@part
class LeNet(ModelSpec):
    """Two 5×5 convolutions of 6 and 16 kernels, fully connected layers of 120 and 84; 61,706 parameters for 28×28×1 and
    10 classes.

    Thapa et al. 2022 (Table 4) give "60 thousands" parameters, 5 layers, 5×5 and 2×2 kernels, and cut after layer 2,
    "after 2D MaxPool layer": ``"layer2"``. They say nothing of padding and activations; images smaller than 32 pixels
    are padded by 2, as LeCun et al. pad theirs, which gives that size, and ReLU and max-pooling are what their other
    networks have.
    """

    input_shape: tuple[int, int, int] = (1, 28, 28)
    classes: int = 10
    cut: str | None = "layer2"
    tail: str | None = None

    def __post_init__(self) -> None:
        check_images("LeNet", self.input_shape, self.classes, 12)

    @property
    def cuts(self) -> Mapping[str, str]:
        return {"layer2": "conv1"}

    def stages(self) -> list[tuple[str, nn.Module]]:
        channels, *sides = self.input_shape
        padding = 2 if min(sides) < 32 else 0
        height, width = (((side + 2 * padding - 4) // 2 - 4) // 2 for side in sides)
        return [
            ("conv1", nn.Sequential(nn.Conv2d(channels, 6, 5, padding=padding), nn.MaxPool2d(2), nn.ReLU())),
            ("conv2", nn.Sequential(nn.Conv2d(6, 16, 5), nn.MaxPool2d(2), nn.ReLU())),
            ("fc1", nn.Sequential(nn.Flatten(), nn.Linear(16 * height * width, 120), nn.ReLU())),
            ("fc2", nn.Sequential(nn.Linear(120, 84), nn.ReLU())),
            ("fc3", nn.Linear(84, self.classes)),
        ]


def lenet(
    input_shape: tuple[int, int, int] = (1, 28, 28),
    classes: int = 10,
    cut: str | None = "layer2",
    tail: str | None = None,
) -> LeNet:
    """LeNet-5 for 28×28×1 (FMNIST) or 32×32×3 (CIFAR-10), cut at Thapa et al.'s ``"layer2"`` or any stage name."""
    return LeNet(input_shape, classes, cut, tail)
