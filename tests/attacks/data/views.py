"""Made-up views of a malicious client."""

from __future__ import annotations

import torch

from raysplit import rng
from raysplit.attacks.data.data_attack import DataView, TestView
from raysplit.population.population import Samples

CLASSES = 7


def samples(n: int, seed: int = 0, classes: int = CLASSES, side: int = 12, dtype: torch.dtype = torch.uint8) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (n, 1, side, side), generator=generator, dtype=torch.uint8)
    return Samples(
        x if dtype is torch.uint8 else x.to(dtype) / 255, torch.randint(0, classes, (n,), generator=generator)
    )


def view(own: Samples, client: int = 3, rank: int = 0, round: int = 1, seed: int = 5, **given: object) -> DataView:
    stream = rng.stream(seed, "poison data", 0, 0, client)
    return DataView(own, client, rank, round, CLASSES, stream, **given)  # type: ignore[arg-type]


def test_view(own: Samples, client: int = 3, seed: int = 5) -> TestView:
    return TestView(own, client, CLASSES, rng.stream(seed, "attack attempts", 0, client))


test_view.__test__ = False  # type: ignore[attr-defined]


def changed(before: Samples, after: Samples) -> tuple[torch.Tensor, torch.Tensor]:
    """Which samples have other pixels, and which another label: bool [n] each."""
    return (before.x != after.x).flatten(1).any(1), before.y != after.y
