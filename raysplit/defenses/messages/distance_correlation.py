"""Distance correlation of two batches (Székely, Rizzo, Bakirov 2007, Annals of Statistics 35(6), definitions 4 and 5)."""

from __future__ import annotations

import torch


def distance_correlation(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """R_n of x [n, …] and z [n, …], from 0 (unrelated) to 1 (one is the other, turned, moved and scaled): a scalar,
    differentiable.

    With a_ij = ‖x_i − x_j‖₂, A_ij = a_ij − ā_i· − ā_·j + ā_·· and B likewise of z: R_n² = Σ A∘B / √(ΣA∘A · ΣB∘B), the
    V-statistic, whose diagonal counts. 0 where it is not defined: n < 2, or all rows of one side alike. The gradient at
    two rows that are alike is taken as 0.
    """
    if len(x) < 2:
        return z.sum() * 0
    one, other = _centred(x), _centred(z)
    product, squares = (one * other).sum(), (one * one).sum() * (other * other).sum()
    if not float(product.detach()) > 0 or not float(squares.detach()) > 0:
        return z.sum() * 0
    return (product / squares.sqrt()).sqrt()


def _centred(rows: torch.Tensor) -> torch.Tensor:
    """Distances of all pairs [n, n], whose rows and columns have mean 0."""
    flat = rows.flatten(1)
    distances = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")
    return distances - distances.mean(0, keepdim=True) - distances.mean(1, keepdim=True) + distances.mean()
