"""DP-SGD written out: one sample at a time, in plain PyTorch, knowing nothing of cuts, slots or hooks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from raysplit import rng

SEED = 42
"""Of scenarios, unless they say another."""


def own_gradients(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    """The gradient of each sample's own cross-entropy."""
    found = []
    for i in range(len(y)):
        network.zero_grad()
        functional.cross_entropy(network(x[i : i + 1]), y[i : i + 1]).backward()
        found.append({name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None})
    return found


def clipped_sum(rows: list[dict[str, torch.Tensor]], names: Sequence[str], norm: float) -> list[torch.Tensor]:
    """Σ_i g_i · min(1, C/‖g_i‖) over the parameters in ``names``, which are clipped as one."""
    sums = [torch.zeros_like(rows[0][name]) for name in names]
    for row in rows:
        length = torch.sqrt(sum(row[name].square().sum() for name in names))  # type: ignore[arg-type]
        for total, name in zip(sums, names, strict=True):
            total += row[name] * min(1.0, norm / float(length))
    return sums


def noise(purpose: str, shapes: list[torch.Size], round: int, client: int, step: int) -> list[torch.Tensor]:
    drawn = torch.randn(
        sum(shape.numel() for shape in shapes),
        generator=rng.torch_stream(SEED, purpose, round, client, step),
        dtype=torch.float64,
    )
    parts = torch.split(drawn, [shape.numel() for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
