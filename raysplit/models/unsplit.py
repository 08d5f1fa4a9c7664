"""The two networks of UnSplit (Erdoğan et al. 2021), which He et al.'s inversion attacks use too. Every layer is a
stage.

Cuts are numbered as there: the client has layers 0 to d. The published order of layers is kept (ReLU before pooling),
because the attacks are measured at each of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from raysplit.models.network import ModelSpec
from raysplit.parts.part import part

_MNIST = ("conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "fc1", "relu3", "fc2", "relu4", "fc3")
_CIFAR = (
    *("conv11", "relu11", "conv12", "relu12", "pool1", "conv21", "relu21", "conv22", "relu22", "pool2"),
    *("conv31", "relu31", "conv32", "relu32", "pool3", "fc1", "sigmoid", "fc2"),
)


@part
class UnSplitMnist(ModelSpec):
    """For MNIST and Fashion-MNIST: 45,278 parameters. Cuts ``"0"`` to ``"10"``; the paper attacks ``"1"`` to ``"6"``.

    Z at cuts 0–6: [8, 24, 24] twice, [8, 12, 12], [16, 8, 8] twice, [16, 4, 4], [120].
    """

    cut: str | None = "1"
    tail: str | None = None

    @property
    def cuts(self) -> Mapping[str, str]:
        return {str(index): name for index, name in enumerate(_MNIST)}

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (1, 28, 28)

    @property
    def classes(self) -> int:
        return 10

    def stages(self) -> list[tuple[str, nn.Module]]:
        layers = [
            *(nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(
                nn.Sequential(nn.Flatten(), nn.Linear(256, 120)),
                nn.ReLU(),
                nn.Linear(120, 84),
                nn.ReLU(),
                nn.Linear(84, 10),
            ),
        ]
        return list(zip(_MNIST, layers, strict=True))


@part
class UnSplitCifar(ModelSpec):
    """For CIFAR-10: 1,609,546 parameters. Cuts ``"0"`` to ``"17"``; the paper attacks depths ``"1"`` to ``"8"``.

    Depths 1–8 are ReLU11, conv12, ReLU12, pool1, conv21, ReLU21, conv22, ReLU22.
    """

    cut: str | None = "1"
    tail: str | None = None

    @property
    def cuts(self) -> Mapping[str, str]:
        return {str(index): name for index, name in enumerate(_CIFAR)}

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (3, 32, 32)

    @property
    def classes(self) -> int:
        return 10

    def stages(self) -> list[tuple[str, nn.Module]]:
        layers: list[nn.Module] = []
        channels = 3
        for width in (64, 128, 128):
            for _ in range(2):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        layers += [nn.Sequential(nn.Flatten(), nn.Linear(2048, 512)), nn.Sigmoid(), nn.Linear(512, 10)]
        return list(zip(_CIFAR, layers, strict=True))


def unsplit_mnist(cut: str | None = "1", tail: str | None = None) -> UnSplitMnist:
    """UnSplit's MNIST network, cut after layer ``"0"`` to ``"9"`` or at a stage name."""
    return UnSplitMnist(cut, tail)


def unsplit_cifar(cut: str | None = "1", tail: str | None = None) -> UnSplitCifar:
    """UnSplit's CIFAR-10 network, cut at split depth ``"1"`` to ``"8"``, any layer's number or a stage name."""
    return UnSplitCifar(cut, tail)
