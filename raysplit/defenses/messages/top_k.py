"""The largest elements of smashed data alone."""

from __future__ import annotations

import math

import torch

from raysplit.defenses.messages.message_defense import DefenseView, SmashedDefense
from raysplit.errors import ScenarioError
from raysplit.parts.part import part


@part
class TopK(SmashedDefense):
    """z′_i keeps the k = ⌈``share`` · d⌉ elements of z_i, d in number, that are largest in absolute value (of equals the
    first), and is 0 elsewhere.

    The gradient is masked: what is not sent does not learn from the batch. A sample takes k floats and their places, as
    numbers of ⌈log2 d⌉ bits or as a map of d bits, whichever is shorter; cut gradients come back dense. Source: the
    pruning baseline in Li et al., "ResSFL", CVPR 2022.
    """

    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ScenarioError(f"TopK.share must be above 0 and at most 1, but it is {self.share}")

    def _kept(self, floats: int) -> int:
        return max(1, math.ceil(self.share * floats))

    def sample_bytes(self, floats: int, float_bytes: int) -> int:
        kept = self._kept(floats)
        places = min(kept * max(1, (floats - 1).bit_length()), floats)
        return kept * float_bytes + math.ceil(places / 8)

    def sent(self, z: torch.Tensor, view: DefenseView) -> torch.Tensor:
        rows = z.detach().flatten(1)
        order = rows.abs().argsort(dim=1, descending=True, stable=True)
        mask = torch.zeros_like(rows).scatter_(1, order[:, : self._kept(rows.shape[1])], 1)
        return z * mask.view(z.shape)
