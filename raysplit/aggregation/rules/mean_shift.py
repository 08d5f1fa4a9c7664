"""Flat mean shift on a few points (Fukunaga & Hostetler 1975; Comaniciu & Meer 2002), for rules that cluster
clients."""

from __future__ import annotations

import torch


def largest_cluster(points: torch.Tensor, iterations: int = 300) -> torch.Tensor:
    """Which of the ``points``, float64 [n, k], belong to the largest cluster, bool [n]; of two equal ones the more
    crowded, then the lower.

    The bandwidth h is the mean distance of a point to its ⌈n/2⌉-th nearest, itself counted. Every point climbs to the
    mean of the points within h until it rests. Resting places are taken in order of how many points lie within h of
    them; one within h of a place that is already taken is dropped. A point belongs to the nearest place that is left.
    With h = 0 equal points form a cluster.
    """
    n = points.shape[0]
    between = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    bandwidth = float(between.sort(dim=1).values[:, (n + 1) // 2 - 1].mean())
    # Points at the very edge must not fall in or out by rounding.
    reach = bandwidth * (1 + 1e-9) + 1e-12
    places = points.clone()
    for _ in range(iterations):
        near = (_distances(places, points) <= reach).double()
        moved = (near @ points) / near.sum(1, keepdim=True)
        step = float((moved - places).abs().max())
        places = moved
        if step <= 1e-9 * max(bandwidth, 1e-9):
            break
    crowd = (_distances(places, points) <= reach).sum(1).tolist()
    taken: list[int] = []
    # Rounded, so that the order of the rows cannot decide between equals through the last bit of a mean.
    places = places.round(decimals=9)
    for i in sorted(range(n), key=lambda i: (-crowd[i], places[i].tolist())):
        if all(float((places[i] - places[j]).norm()) > reach for j in taken):
            taken.append(i)
    owner = _distances(points, places[taken]).round(decimals=9).argmin(1)
    sizes = torch.bincount(owner, minlength=len(taken))
    return owner == int((sizes == sizes.max()).nonzero()[0])


def _distances(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist")
