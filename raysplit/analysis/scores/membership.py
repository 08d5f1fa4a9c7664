"""How well scores tell samples that were trained on from samples that were not: at few false alarms, and over all.

An attack that names a few members for certain is worse for them than one that is a little better than a coin on
everybody, so that the true-positive rate at a low false-positive rate says more than the area or the accuracy (Carlini
et al. 2022, section III).
"""

from __future__ import annotations

import math

import torch


def true_positives_at(scores: torch.Tensor, members: torch.Tensor, false_positives: float) -> float:
    """The largest share of members above any threshold with at most ``false_positives`` of the others at or above it.

    ``scores``: float [n], the higher, the likelier a member; ``members``: bool [n], of both kinds. Of m non-members
    floor(m · rate) may be above; below 1/m that is none. No interpolation between points of the curve.
    """
    others = scores[~members].sort(descending=True).values
    allowed = math.floor(false_positives * len(others) + 1e-9)
    if allowed >= len(others):
        return 1.0
    return float((scores[members] > others[allowed]).double().mean())


def balanced_accuracy(scores: torch.Tensor, members: torch.Tensor) -> float:
    """The largest mean of the share of members at or above a threshold and the share of others below it, over all
    thresholds. The threshold is chosen with the truth, so a coin comes out above 0.5 too."""
    values, place = torch.unique(scores, return_inverse=True)
    inside = place[members].bincount(minlength=len(values)).double()
    outside = place[~members].bincount(minlength=len(values)).double()
    caught = inside.flip(0).cumsum(0).flip(0) / inside.sum()
    alarms = outside.flip(0).cumsum(0).flip(0) / outside.sum()
    return max(0.5, float(((caught + 1 - alarms) / 2).max()))
