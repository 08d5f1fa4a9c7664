"""A small picture of what some clients of a population hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from raysplit.errors import PopulationError
from raysplit.population.population import Population


def contact_sheet(population: Population, clients: Sequence[int], samples: int = 20, gap: int = 2) -> np.ndarray:
    """Training samples of ``clients``, one row a client in order of class: uint8 [H, W], or [H, W, 3] for colour.

    Each row shows up to ``samples`` images, spread evenly over the client's classes; missing ones stay grey.
    """
    channels, height, width = population.info.shape
    if population.info.dtype != "uint8" or channels not in (1, 3):
        raise PopulationError(
            f"the samples of population {population.info.name!r} are no pictures, so no sheet shows them"
        )
    sheet = np.full((len(clients) * (height + gap), samples * (width + gap), channels), 200, dtype=np.uint8)
    for row, client in enumerate(clients):
        x, y = population.train(int(client))
        for column, index in enumerate(_spread(y, samples)):
            top, left = row * (height + gap), column * (width + gap)
            sheet[top : top + height, left : left + width] = x[index].permute(1, 2, 0).numpy()
    return sheet[..., 0] if channels == 1 else sheet


def _spread(labels: torch.Tensor, samples: int) -> list[int]:
    """Up to ``samples`` indices, as many classes as possible first, in order of class."""
    seen: dict[int, int] = {}
    ranked = []
    for index, label in enumerate(labels.tolist()):
        seen[label] = seen.get(label, 0) + 1
        ranked.append((seen[label], label, index))
    first = sorted(ranked)[:samples]
    return [index for _, _, index in sorted(first, key=lambda item: (item[1], item[0]))]
