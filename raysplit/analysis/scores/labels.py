"""How many labels are right, as they are or under the best naming of clusters."""

from __future__ import annotations

import torch


def confusion(found: torch.Tensor, truth: torch.Tensor, classes: int) -> torch.Tensor:
    """How often ``found`` [n] says i where the truth [n] is j: int64 [classes, classes]."""
    return torch.bincount(found * classes + truth, minlength=classes * classes).view(classes, classes)


def label_accuracy(found: torch.Tensor, truth: torch.Tensor) -> float:
    """The share that is right."""
    return float((found == truth).double().mean())


def permuted_accuracy(found: torch.Tensor, truth: torch.Tensor, classes: int) -> float:
    """The share that is right when clusters are named in the best way. The naming uses the truth, so with k clusters of
    n samples chance is above 1/k: an upper bound for who has one known sample a class."""
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

    counts = confusion(found, truth, classes).numpy()
    rows, columns = linear_sum_assignment(-counts)
    return float(counts[rows, columns].sum() / max(1, len(truth)))
