"""A toy network with dropout on both sides of every cut."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from raysplit.models.network import ModelSpec
from raysplit.parts.part import part


@part
class DropoutCnn(ModelSpec):
    """ToyCnn's layers with dropout of whole channels after the convolutions and of units after fc1."""

    cut: str | None = "V2"
    tail: str | None = None
    p: float = 0.4

    @property
    def cuts(self) -> Mapping[str, str]:
        return {"V1": "conv1", "V2": "conv2", "V3": "fc1"}

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (1, 8, 8)

    @property
    def classes(self) -> int:
        return 5

    def stages(self) -> list[tuple[str, nn.Module]]:
        return [
            ("conv1", nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.Dropout2d(self.p))),
            ("conv2", nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Dropout(self.p), nn.MaxPool2d(2), nn.ReLU())),
            ("fc1", nn.Sequential(nn.Flatten(), nn.Linear(16, 7), nn.ReLU(), nn.Dropout(self.p))),
            ("fc2", nn.Sequential(nn.Dropout(self.p), nn.Linear(7, 5))),
        ]
