"""How many labels are right, as they are or under the best naming of clusters; how well a score tells two classes
apart."""

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


def leak_auc(scores: torch.Tensor, positive: torch.Tensor) -> float:
    """The chance that a positive sample scores above a negative one, ties counted half: the area under the ROC curve.

    ``scores``: float [n]; ``positive``: bool [n], of both kinds. U/(n₊·n₋), U by the sum of the positives' ranks (Mann
    and Whitney 1947). 0.5: nothing leaks; Li et al. 2021 call it leak AUC.
    """
    values, place = torch.unique(scores, return_inverse=True)
    counts = place.bincount(minlength=len(values)).double()
    ranks = (counts.cumsum(0) - (counts - 1) / 2)[place]
    many, few = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - many * (many + 1) / 2) / (many * few))
