"""Gradients Scrutinizer (Fu et al., "Focusing on Pinocchio's Nose", NDSS 2023): do cut gradients tell labels apart?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch

from raysplit.defenses.detection.client_detector import AnsweredView, ClientDetector, ClientVerdict
from raysplit.parts.part import part, within

SAME, SAME_SD, DIFFERENT, DIFFERENT_SD = "same", "same_sd", "different", "different_sd"
Pairs = Literal["distinct", "all"]


@part
class GradientsScrutinizer(ClientDetector):
    """Samples of one label get gradients alike, and of different labels other ones, only where the server trains on the
    labels. It sends nothing of its own.

    Of each batch: mean and standard deviation of .5 + .5·cos(g_k, g_l) over pairs of samples with the same label, and
    over pairs with different ones. A batch without both kinds of pairs is passed over, and so are pairs with a gradient
    of zero, which has no direction. After ``every`` batches and one more, again after every ``every``, from the batch
    that has come and the ``n`` before it::

        gap   = (same − different) / (same + different)
        err   = 9 · mean RMSE of the quadratic fits to the curves of ``same`` and ``different`` over the n batches
        iou   = (max_d − min_s) / (max_s − min_d) where the bands mean ± sd meet, min_s ≤ max_d, else 0
        score = sigmoid(6 · (gap / |gap|^.8 · (−ln(err + e⁻³)) · (−ln(iou + e⁻¹)) − .7))

    where gap = 0 counts as 0. ``pairs``: ``"distinct"``, k ≠ l; ``"all"`` is the published copy in the code of URVFL,
    which takes each sample with itself as a pair of one label too and so sees a gap where there is none. Its constants
    and ``threshold`` are from there; nothing here was compared with the authors' own code. It needs labels that repeat
    within a batch.
    """

    every: int = 50
    window: int = 5
    threshold: float = 0.7
    pairs: Pairs = "distinct"

    def __post_init__(self) -> None:
        within("GradientsScrutinizer.every", self.every, 4)
        within("GradientsScrutinizer.window", self.window, 1)
        within("GradientsScrutinizer.threshold", self.threshold, 0, 1)

    def judge(self, view: AnsweredView, memory: Mapping[str, torch.Tensor]) -> ClientVerdict:
        found = None if view.fake else similarities(view.cut_gradients, view.labels, self.pairs)
        if found is None:
            return ClientVerdict(None, dict(memory))
        kept = {name: torch.cat([memory[name], value]) if name in memory else value for name, value in found.items()}
        batches = len(kept[SAME])
        if batches <= self.every or (batches - 1) % self.every:
            return ClientVerdict(None, kept)
        return ClientVerdict(scrutinized({name: curve.numpy() for name, curve in kept.items()}), kept)


def similarities(
    gradients: torch.Tensor, labels: torch.Tensor, pairs: Pairs = "distinct"
) -> dict[str, torch.Tensor] | None:
    """Of one batch's gradients [B, …]: mean and standard deviation of the mapped cosines, float64 [1] each; None where
    one kind of pairs is missing."""
    rows = gradients.flatten(1).cpu().double()
    lengths = torch.linalg.vector_norm(rows, dim=1)
    rows, labels = rows[lengths > 0] / lengths[lengths > 0].unsqueeze(1), labels.cpu()[lengths > 0]
    alike = 0.5 + 0.5 * (rows @ rows.T)
    same = labels.unsqueeze(1) == labels.unsqueeze(0)
    counted = torch.ones_like(same)
    if pairs == "distinct":
        counted.fill_diagonal_(False)
    one, other = alike[same & counted], alike[~same]
    if not len(one) or not len(other):
        return None
    values = {SAME: one.mean(), SAME_SD: one.std(correction=0)}
    values |= {DIFFERENT: other.mean(), DIFFERENT_SD: other.std(correction=0)}
    return {name: value.reshape(1) for name, value in values.items()}


def scrutinized(curves: Mapping[str, np.ndarray]) -> float:
    """The score of the last of n + 1 batches, float64 [n + 1] each."""
    same, different = curves[SAME], curves[DIFFERENT]
    total = same[-1] + different[-1]
    gap = float((same[-1] - different[-1]) / total) if total > 0 else 0.0
    err = 9 * (_residual(same[:-1]) + _residual(different[:-1])) / 2
    iou = _overlap(
        float(same[-1] - curves[SAME_SD][-1]),
        float(same[-1] + curves[SAME_SD][-1]),
        float(different[-1] - curves[DIFFERENT_SD][-1]),
        float(different[-1] + curves[DIFFERENT_SD][-1]),
    )
    size = math.copysign(abs(gap) ** 0.2, gap) if gap else 0.0
    inner = size * -math.log(err + math.exp(-3)) * -math.log(iou + math.exp(-1)) - 0.7
    return 1 / (1 + math.exp(-6 * inner))


def _residual(curve: np.ndarray) -> float:
    """The root mean square error of a quadratic fit to a curve over 0, 1, 2, …"""
    at = np.arange(len(curve), dtype=np.float64)
    return float(np.sqrt(np.mean((curve - np.polyval(np.polyfit(at, curve, 2), at)) ** 2)))


def _overlap(same_low: float, same_high: float, different_low: float, different_high: float) -> float:
    """How far two bands run into each other, of all that both cover; two bands that are one point overlap wholly."""
    if same_low > different_high:
        return 0.0
    covered = same_high - different_low
    return (different_high - same_low) / covered if covered > 0 else 1.0
