"""k-means by cosine (spherical k-means): clusters of directions."""

from __future__ import annotations

import torch
from torch.nn import functional


def cosine_k_means(
    x: torch.Tensor, clusters: int, restarts: int, iterations: int, draw: torch.Generator
) -> torch.Tensor:
    """Cluster of every row of x [n, d], int64 [n]: the best of ``restarts`` by the sum of cosines to the centres.

    Each starts at rows that are drawn one after another with weight 1 − the largest cosine to those before it.
    """
    directions = functional.normalize(x)
    found = [
        moved(directions, _spread(directions, min(clusters, len(x)), draw), iterations) for _ in range(max(1, restarts))
    ]
    return max(found, key=lambda one: one[1])[0]


def moved(directions: torch.Tensor, centres: torch.Tensor, iterations: int) -> tuple[torch.Tensor, float]:
    """Lloyd's iterations on unit rows [n, d] from unit centres [k, d]: clusters, int64 [n], and the sum of cosines. A
    centre that nobody is nearest to stays where it is."""
    labels = torch.full((len(directions),), -1)
    for _ in range(max(1, iterations)):
        cosines = directions @ centres.T
        nearest = cosines.argmax(1)
        if nearest.equal(labels):
            break
        labels = nearest
        members = functional.one_hot(labels, len(centres)).to(directions.dtype)
        means = functional.normalize(members.T @ directions)
        centres = torch.where(members.sum(0)[:, None] > 0, means, centres)
    return labels, float((directions * centres[labels]).sum())


def _spread(directions: torch.Tensor, clusters: int, draw: torch.Generator) -> torch.Tensor:
    chosen = [int(torch.randint(len(directions), (), generator=draw))]
    nearest = directions @ directions[chosen[0]]
    for _ in range(1, clusters):
        weights = (1 - nearest).clamp(min=0)
        weights[chosen] = 0
        some = float(weights.sum()) > 0
        chosen.append(int(torch.multinomial(weights if some else torch.ones_like(weights), 1, generator=draw)))
        nearest = torch.maximum(nearest, directions @ directions[chosen[-1]])
    return directions[chosen]
