"""Gradients of one length, whatever their labels."""

from __future__ import annotations

from typing import Literal

import torch

from raysplit.defenses.messages.message_defense import DefenseView, GradientDefense
from raysplit.parts.part import part


@part
class GradientNormMasking(GradientDefense):
    """Makes every sample's gradient g_i as long as the longest one of its batch, M = max_j ‖g_j‖₂.

    ``form="scale"``: g_i · M/‖g_i‖, exactly as long. ``"max_norm"``: g_i · (1 + √(M²/‖g_i‖² − 1) · ξ_i), ξ ~ N(0, 1), as
    long in the mean square and unbiased, but along g_i (Li et al. 2022, ICLR, arXiv 2102.08504, section 4.1).
    ``"perpendicular"``: g_i + √(M² − ‖g_i‖²) · e_i, e_i a random direction at right angles to g_i: exactly as long and
    unbiased (a form of their public code; it needs two coordinates). Norms say nothing then; directions still may. A
    gradient of zeros stays.
    """

    form: Literal["scale", "max_norm", "perpendicular"] = "scale"

    def sent(self, gradients: torch.Tensor, view: DefenseView) -> torch.Tensor:
        rows = gradients.flatten(1).double()
        if not rows.numel():
            return gradients
        norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        longest, known = norms.max(), torch.where(norms > 0, norms, torch.ones_like(norms))
        if self.form == "scale":
            made = rows * (longest / known)
        elif self.form == "max_norm":
            spread = ((longest / known).square() - 1).clamp_min(0).sqrt()
            made = rows * (1 + spread * torch.randn(len(rows), 1, generator=view.draw, dtype=torch.float64))
        else:
            noise = torch.randn(rows.shape, generator=view.draw, dtype=torch.float64)
            across = noise - (noise * rows).sum(1, keepdim=True) / known.square() * rows
            direction = torch.nn.functional.normalize(across, dim=1)
            made = torch.where(norms > 0, rows + (longest**2 - norms.square()).clamp_min(0).sqrt() * direction, rows)
        return made.view(gradients.shape).to(gradients)
