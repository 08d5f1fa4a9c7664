"""What the labels that an attack was told are worth without any message: a model trained on those samples alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from raysplit import rng
from raysplit.analysis.inference.target import portions_of
from raysplit.analysis.inference.victims import Victims
from raysplit.scenario.scenario import Scenario

_STEPS, _LR, _BATCH = 200, 1e-3, 64


def labels_from_known_samples(scenario: Scenario, victims: Victims, told: Sequence[int]) -> torch.Tensor:
    """Labels [n] of all samples by the scenario's network, trained from fresh weights on the inputs and labels of those
    in ``told``: 200 steps of Adam at 1e-3, in batches of 64 at most. More than a server has, who sees no input."""
    portions = portions_of(scenario, rng.key(scenario.seed, "inference known samples alone") >> 65)
    stages = [stage for stage in (portions.head, portions.body, portions.tail) if stage is not None]
    network = nn.Sequential(*stages)
    x, y = victims.x[list(told)], victims.y[list(told)]
    draw = rng.torch_stream(scenario.seed, "inference known samples alone")
    optimizer = torch.optim.Adam(network.parameters(), lr=_LR)
    for _ in range(_STEPS):
        rows = torch.randperm(len(x), generator=draw)[:_BATCH]
        optimizer.zero_grad()
        functional.cross_entropy(network(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        return torch.cat([network(some).argmax(1) for some in torch.split(victims.x, 256)])
