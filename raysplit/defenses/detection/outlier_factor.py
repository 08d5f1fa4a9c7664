"""The local outlier factor (Breunig, Kriegel, Ng, Sander, SIGMOD 2000) of a new point among known ones."""

from __future__ import annotations

import torch

TINY = 1e-10
"""Added to a mean distance before it is inverted, as scikit-learn does."""


def reach(known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of n known points [n, d], n ≥ 2, each with all others as neighbours: the distance of the farthest one, and the
    local reachability density, [n] each.

    lrd(p) = 1 / mean over p's neighbours o of max(k-distance(o), ‖p − o‖).
    """
    apart = torch.cdist(known, known, compute_mode="donot_use_mm_for_euclid_dist")
    farthest = apart.max(1).values
    reachable = torch.maximum(apart, farthest.unsqueeze(0))
    reachable.fill_diagonal_(0.0)
    return farthest, 1 / (reachable.sum(1) / (len(known) - 1) + TINY)


def local_outlier_factor(
    point: torch.Tensor, known: torch.Tensor, farthest: torch.Tensor, density: torch.Tensor
) -> float:
    """LOF = mean over the point's n − 1 nearest known ones of lrd(o) / lrd(point); about 1 for an inlier. ``point``
    [d]; the rest as ``reach`` has it."""
    apart = torch.linalg.vector_norm(known - point, dim=1)
    nearest = torch.sort(apart, stable=True).indices[:-1]
    own = 1 / (torch.maximum(apart, farthest)[nearest].mean() + TINY)
    return float(density[nearest].mean() / own)
