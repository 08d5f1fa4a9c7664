"""The two convolutional networks that FEMNIST experiments use."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from raysplit.models.network import ModelSpec
from raysplit.parts.part import part


@part
class FemnistCnn(ModelSpec):
    """Khan et al. 2022's custom CNN, "two convolutional layers followed by two fully connected layers": 848,382
    parameters.

    The paper gives no widths; these (16 and 32 kernels of 5×5, 512 units) are the FEMNIST network of Shejwalkar and
    Houmansadr's code (NDSS'21), whose size matches. Cuts V1, V2, V3 = after layers 1, 2, 3: client portions of 416,
    13,248 and 816,576 parameters. Each convolution is followed by max-pooling and then ReLU, which equals ReLU then
    pooling (both are monotone), with a quarter of the elements for the ReLU.
    """

    cut: str | None = "V2"
    tail: str | None = None

    @property
    def cuts(self) -> Mapping[str, str]:
        return {"V1": "conv1", "V2": "conv2", "V3": "fc1"}

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (1, 28, 28)

    @property
    def classes(self) -> int:
        return 62

    def stages(self) -> list[tuple[str, nn.Module]]:
        return _two_convolutions(16, 32, 512, 62)


@part
class LeafCnn(ModelSpec):
    """LEAF's FEMNIST CNN (Caldas et al. 2018): 32 and 64 kernels of 5×5, 2,048 units; 6,603,710 parameters.

    Cuts V1, V2, V3 = after layers 1, 2, 3: client portions of 832, 52,096 and 6,476,672 parameters.
    """

    cut: str | None = "V2"
    tail: str | None = None

    @property
    def cuts(self) -> Mapping[str, str]:
        return {"V1": "conv1", "V2": "conv2", "V3": "fc1"}

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (1, 28, 28)

    @property
    def classes(self) -> int:
        return 62

    def stages(self) -> list[tuple[str, nn.Module]]:
        return _two_convolutions(32, 64, 2048, 62)


def _two_convolutions(first: int, second: int, hidden: int, classes: int) -> list[tuple[str, nn.Module]]:
    return [
        ("conv1", nn.Sequential(nn.Conv2d(1, first, 5, padding=2), nn.MaxPool2d(2), nn.ReLU())),
        ("conv2", nn.Sequential(nn.Conv2d(first, second, 5, padding=2), nn.MaxPool2d(2), nn.ReLU())),
        ("fc1", nn.Sequential(nn.Flatten(), nn.Linear(second * 7 * 7, hidden), nn.ReLU())),
        ("fc2", nn.Linear(hidden, classes)),
    ]


def femnist_cnn(cut: str | None = "V2", tail: str | None = None) -> FemnistCnn:
    """Khan et al.'s FEMNIST network, cut at ``"V1"``, ``"V2"``, ``"V3"`` or any stage name."""
    return FemnistCnn(cut=cut, tail=tail)


def leaf_cnn(cut: str | None = "V2", tail: str | None = None) -> LeafCnn:
    """LEAF's FEMNIST network, cut at ``"V1"``, ``"V2"``, ``"V3"`` or any stage name."""
    return LeafCnn(cut=cut, tail=tail)
