"""FLAME: the majority that points the same way, clipped, with noise (Nguyen et al., USENIX Security 2022, algorithm
1)."""

from __future__ import annotations

from typing import Literal

import torch

from raysplit.aggregation.columns import combined
from raysplit.aggregation.geometry import Geometry, finite_or_infinite, lower_median
from raysplit.aggregation.gram import exact_gram
from raysplit.aggregation.rule import Aggregate, GeometryRule, RoundContext
from raysplit.aggregation.rules.clipping import clipping_to
from raysplit.errors import ScenarioError
from raysplit.parts.part import part, within


@part
class FLAME(GeometryRule):
    """AGR(U) = 1/|A| · Σ_{i∈A} u_i min(1, S/‖u_i‖) + N(0, (λS)² I), with A the admitted updates and S the (lower)
    median of all norms.

    A is the cluster that HDBSCAN(min_cluster_size=⌊n/2⌋ + 1, min_samples=1, allow_single_cluster=True) finds among
    cosine distances. Two groups of that size cannot exist side by side, so its tree never branches: its one cluster is
    the root, and it labels the points that stay to the end, which is when the last group of that size falls apart. So A
    = the component with ⌊n/2⌋ + 1 or more members at the smallest distance t at which joining all pairs within t makes
    one; no library is needed.

    ``angles``: cosines between ``"updates"``, or between the clients' whole ``"models"`` W + u_i, which are nearly
    parallel late in training; descriptions of the method differ. ``noise`` is λ. The sample weights play no part. Rows
    that are zero or not finite are left out.

    Records ``bound`` (S), ``select`` (|A|) and ``broken``: 1 where half of the clients or more were malicious. With
    fewer than ⌊n/2⌋ + 1 measurable updates the update is zero, and ``broken`` is 1. Written from descriptions of the
    algorithm; the paper was not at hand.

    >>> import torch
    >>> from raysplit import FLAME
    >>> updates = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0], [50.0, -50.0]])
    >>> FLAME(noise=0.0)(updates)
    tensor([1.7500, 1.7500])
    """

    noise: float = 0.001
    angles: Literal["updates", "models"] = "updates"

    def __post_init__(self) -> None:
        within("FLAME.noise", self.noise, 0)

    def over(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        n, _ = geometry.shape
        shift: torch.Tensor | None = None
        if self.angles == "models":
            if context.portion is None:
                raise ScenarioError(
                    "FLAME(angles='models') needs the global portion, which a fed server gives; outside a simulation "
                    "give portion="
                )
            shift = context.portion
        distances = cosine_distances(geometry, shift)
        selected = majority_component(distances)
        norms = finite_or_infinite(geometry.norms)
        bound, kept = lower_median(norms), int(selected.sum())
        scale = clipping_to(norms, bound)
        update = combined(geometry.columns, torch.where(selected, scale, 0.0)).div_(max(1, kept))
        if self.noise and kept:
            noise = context.rng.standard_normal(len(update)) * (self.noise * bound)
            update += torch.from_numpy(noise).to(update)
        broken = 2 * context.actual >= n or not kept
        return Aggregate(update, {"bound": bound, "select": float(kept), "broken": float(broken)}, selected)


def cosine_distances(geometry: Geometry, shift: torch.Tensor | None = None) -> torch.Tensor:
    """1 - cos(u_i, u_j) of the rows plus ``shift`` [d], float64 [n, n]; infinite to and from rows of length 0 or not
    finite."""
    gram = geometry.columns.total(exact_gram, *(() if shift is None else (shift,)))
    norms = gram.diagonal().sqrt()
    distances = 1 - (gram / norms[:, None] / norms[None, :]).clamp(-1, 1)
    lost = ~(norms.isfinite() & (norms > 0)) | ~geometry.norms.isfinite()
    distances = ((distances + distances.T) / 2).fill_diagonal_(0)
    return distances.masked_fill(lost[:, None] | lost[None, :] | ~distances.isfinite(), torch.inf)


def majority_component(distances: torch.Tensor) -> torch.Tensor:
    """The single-linkage component of ⌊n/2⌋ + 1 or more rows at the smallest threshold that has one, bool [n]; none
    without one.

    ``distances``: [n, n], symmetric. Pairs within the threshold are joined, those at it too. Components of all
    thresholds are those of a minimum spanning tree.
    """
    n = distances.shape[0]
    component = distances.diagonal().isfinite().long().cumsum(0) - 1  # lost rows share a number that is not used below
    component = torch.where(distances.diagonal().isfinite(), component, n)
    tree = sorted(spanning_tree(distances))
    for index, (threshold, one, other) in enumerate(tree):
        sizes = torch.bincount(component, minlength=n + 1)[:n]
        if int(sizes.max()) > n // 2 and threshold > tree[index - 1][0]:
            break
        component = torch.where(component == component[other], component[one], component)
    sizes = torch.bincount(component, minlength=n + 1)[:n]
    return component == int(sizes.argmax()) if int(sizes.max()) > n // 2 else torch.zeros(n, dtype=torch.bool)


def spanning_tree(distances: torch.Tensor) -> list[tuple[float, int, int]]:
    """The finite edges (distance, row, row) of a minimum spanning tree of ``distances``, [n, n], by Prim's
    algorithm."""
    n = distances.shape[0]
    outside = distances.diagonal().isfinite()
    edges: list[tuple[float, int, int]] = []
    if not bool(outside.any()):
        return edges
    start = int(outside.nonzero()[0])
    outside[start] = False
    nearest, via = distances[start].clone(), torch.full((n,), start)
    while bool(outside.any()):
        row = int(nearest.masked_fill(~outside, torch.inf).argmin())
        if not outside[row] or not nearest[row].isfinite():
            break
        edges.append((float(nearest[row]), int(via[row]), row))
        outside[row] = False
        closer = distances[row] < nearest
        nearest, via = torch.where(closer, distances[row], nearest), torch.where(closer, row, via)
    return edges
