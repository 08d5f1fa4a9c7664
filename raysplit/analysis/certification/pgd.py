"""Projected gradient ascent through the expectation over the noise: the attack that a certified radius must stand
(Madry et al. 2018; Athalye et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from raysplit import rng
from raysplit.analysis.certification.draws import NoisyNetwork

_STREAM = "pixeldp_attack"


@dataclass(frozen=True)
class Pgd:
    """``steps`` steps of 2.5 radius/steps each, from a random start in the ball; every gradient is of −ln of the mean
    softmax over ``draws`` fresh draws of the noise.

    In norm 2 a step goes along the gradient, in norm 1 along the signs of its largest hundredth. Changed samples may
    leave the range of pixels, as those of a certificate may.
    """

    steps: int = 50
    draws: int = 20

    def changed(
        self, network: NoisyNetwork, x: torch.Tensor, predicted: int, radius: float, norm: int, sample: int
    ) -> torch.Tensor:
        """A sample within ``radius`` of ``x`` [1, C, H, W], the one of all steps with the largest loss."""
        start = torch.randn(x.shape, generator=rng.torch_stream(network.seed, _STREAM, sample), dtype=torch.float64)
        moved = _projected(start.to(x.device, x.dtype) * radius / x.numel() ** 0.5, radius, norm)
        best, largest = moved, -float("inf")
        for step in range(self.steps + 1):
            leaf = moved.detach().requires_grad_()
            rows = (x + leaf).expand(self.draws, *x.shape[1:])
            scores = network.once(rows, _STREAM, sample, step).log_softmax(1).logsumexp(0)
            loss = -scores[predicted]
            if float(loss.detach()) > largest:
                best, largest = moved, float(loss.detach())
            (uphill,) = torch.autograd.grad(loss, leaf)
            moved = _projected(moved + 2.5 * radius / max(self.steps, 1) * _direction(uphill, norm), radius, norm)
        return (x + best).detach()


def _direction(gradient: torch.Tensor, norm: int) -> torch.Tensor:
    """The step of length 1 in ``norm``."""
    if norm == 2:
        return gradient / gradient.norm().clamp_min(1e-30)
    flat = gradient.flatten()
    count = max(1, flat.numel() // 100)
    largest = flat.abs().topk(count).indices
    direction = torch.zeros_like(flat)
    direction[largest] = flat[largest].sign() / count
    return direction.view_as(gradient)


def _projected(moved: torch.Tensor, radius: float, norm: int) -> torch.Tensor:
    """The nearest point of the ball; of norm 1 by Duchi et al. 2008."""
    if norm == 2:
        return moved * min(1.0, radius / max(float(moved.norm()), 1e-30))
    flat = moved.flatten()
    if float(flat.abs().sum()) <= radius:
        return moved
    ordered = flat.abs().sort(descending=True).values
    excess = (ordered.cumsum(0) - radius) / torch.arange(1, flat.numel() + 1, dtype=flat.dtype, device=flat.device)
    threshold = excess[int((ordered > excess).sum()) - 1]
    return (flat.sign() * (flat.abs() - threshold).clamp_min(0)).view_as(moved)
