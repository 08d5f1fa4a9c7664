"""What the rules that go by whole rows share: centred geometry, distances, and sums that leave rows out.

A row counts as *lost* where its squared norm is no finite number (NaN, infinity, or float32 overflow, near 1e19): it is
infinitely far from every other row, and it enters no sum unless a rule must select it.
"""

from __future__ import annotations

import torch

from raysplit.defenses.aggregation.gram import centred_gram, squared_distances
from raysplit.defenses.aggregation.order_statistics import add_rows, column_blocks, mean_of_ranks

# Rows whose median is to lie amid all rows.
SAMPLE = 20


def robust_centre(updates: torch.Tensor) -> torch.Tensor:
    """The lower coordinate-wise median, [d]: unlike the mean, no minority drags it so far off that distances round to 0."""
    middle = (updates.shape[0] + 1) // 2
    return mean_of_ranks(updates, middle, middle)


def row_distances(updates: torch.Tensor) -> torch.Tensor:
    """‖u_i - u_j‖², float64 [n, n] on the CPU, symmetric, 0 on the diagonal; infinite to and from lost rows.

    They are taken from a point amid the rows, the median of ``SAMPLE`` of them, since the sort is half of the work. Where that
    turns out to lie far from most, so that rounding would show, from the median of all.
    """
    n = updates.shape[0]
    if n >= 2 * SAMPLE:
        gram = centred_gram(updates, robust_centre(updates[:: n // SAMPLE])).cpu()
        distances = squared_distances(gram)
        between = distances[torch.triu(torch.ones_like(distances), 1) > 0]
        near = lower_median(gram.diagonal()) <= lower_median(between)
        if near:  # false where either is no number
            return _symmetric(distances)
    return _symmetric(squared_distances(centred_gram(updates, robust_centre(updates)).cpu()))


def _symmetric(distances: torch.Tensor) -> torch.Tensor:
    distances = (distances + distances.T).div_(2)
    return distances.masked_fill_(~distances.isfinite(), torch.inf)


def without_lost(gram: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The Gram matrix with zeros in the lost rows and columns, and which rows are present, bool [n]."""
    present = gram.diagonal().isfinite()
    return gram.masked_fill(~(present[:, None] & present[None, :]), 0), present


def distances_to(gram: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """‖y_i - Σ_j factors_j y_j‖, [n], from the Gram matrix of the rows y."""
    products = gram @ factors
    return (gram.diagonal() - 2 * products + factors @ products).clamp_min_(0).sqrt_()


def row_norms(updates: torch.Tensor) -> torch.Tensor:
    """‖u_i‖ in float64, [n], on the CPU."""
    squares = torch.zeros(updates.shape[0], dtype=torch.float64, device=updates.device)
    for columns in column_blocks(updates, narrow=True):
        squares += torch.linalg.vector_norm(updates[:, columns], dim=1, dtype=torch.float64).square_()
    return squares.sqrt_().cpu()


def combine(updates: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Σ_i factors_i · u_i over the rows with a factor other than 0, in row order, [d]."""
    total = updates.new_zeros(updates.shape[1])
    kept = factors.nonzero().flatten()
    if not len(kept):
        return total
    scale, rows = factors[kept].to(updates)[:, None], kept.to(updates.device)
    for columns in column_blocks(updates, narrow=True):
        block = updates[:, columns]
        if len(kept) == len(updates):
            total[columns] = add_rows(block * scale)
        else:  # a factor of 0 must not let a NaN in
            total[columns] = add_rows(block.index_select(0, rows).mul_(scale))
    return total


def lower_median(values: torch.Tensor) -> float:
    """The middle one of ascending ``values``, [n]; the lower of two."""
    return float(values.sort().values[(values.shape[0] - 1) // 2])
