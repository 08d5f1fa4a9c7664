"""Which reconstruction is of which sample: an update says nothing of the order of its samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from raysplit.attacks.inference.inference_attack import Reconstruction


def best_matching(found: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """int64 [n]: for every true sample the reconstruction that is taken for it, all of them different, so that the sum
    of squared errors is the smallest (the Hungarian method). Images [n, C, H, W] both. It uses the truth, so images that
    are no reconstructions gain by it too."""
    from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

    cost = torch.cdist(truth.flatten(1).double(), found.flatten(1).double()).square().numpy()
    _, columns = linear_sum_assignment(cost)
    return torch.from_numpy(columns)


def matched_by_update(found: torch.Tensor, truth: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
    """``best_matching`` within every update: int64 [n]. ``updates``: which update a sample belongs to, int64 [n]."""
    order = torch.arange(len(truth))
    for number in torch.unique(updates).tolist():
        rows = torch.nonzero(updates == number)[:, 0]
        order[rows] = rows[best_matching(found[rows], truth[rows])]
    return order


def in_true_order(found: Reconstruction, truth: torch.Tensor, updates: torch.Tensor) -> Reconstruction:
    """Inputs and labels of the reconstruction in the order of the samples that they are taken for."""
    if found.inputs is None:
        return found
    order = matched_by_update(found.inputs, truth, updates)
    return replace(found, inputs=found.inputs[order], labels=None if found.labels is None else found.labels[order])


def several_in_one_update(batches: Sequence[int]) -> bool:
    """Whether any update is of more than one sample."""
    return len(set(batches)) < len(batches)
