"""Inversion by optimisation: inputs whose smashed data are those that were observed. Shared by several attacks.

Images are independent: losses are summed over them and Adam works element by element, so a batch of n gives what n
single runs give, up to the order of sums.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch

from raysplit.errors import ScenarioError
from raysplit.parts.part import part

Variation = Literal["squared", "isotropic", "absolute"]


@part
class ImagePrior:
    """What is added to the loss of an image: ``variation`` · TV(x) + ``energy`` · mean(x²).

    ``form="squared"``: the mean of squared differences of neighbours, down and across, each over its own count (what
    public code of UnSplit and He et al. computes). ``"isotropic"``: the mean of √(down² + across²) over pixels, UnSplit's
    formula in section 4.2 divided by the number of pixels, so that its weight does not depend on the image's size.
    ``"absolute"``: as ``"squared"``, of absolute differences (Geiping et al. 2020).
    """

    variation: float = 0.1
    energy: float = 0.0
    form: Variation = "squared"

    def __post_init__(self) -> None:
        if self.variation < 0 or self.energy < 0:
            raise ScenarioError(
                f"ImagePrior's weights must be at least 0, but they are {self.variation} and {self.energy}"
            )

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Of every image of x [n, C, H, W]: [n]."""
        loss = x.new_zeros(len(x))
        if self.variation:
            loss = loss + self.variation * total_variation(x, self.form)
        if self.energy:
            loss = loss + self.energy * x.square().flatten(1).mean(1)
        return loss

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        """∂/∂x of the sum over images, [n, C, H, W]: in closed form where ``form="squared"``, a few sums instead of a
        graph."""
        if self.form != "squared":
            with torch.enable_grad():
                leaf = x.detach().requires_grad_()
                loss = self(leaf).sum()
                return torch.autograd.grad(loss, [leaf])[0] if loss.requires_grad else torch.zeros_like(x)
        gradient = x * (2 * self.energy / x[0].numel())
        for dim in (-2, -1) if self.variation else ():
            difference = x.diff(dim=dim)
            difference = difference * (2 * self.variation / max(1, difference[0].numel()))
            length = difference.shape[dim]
            gradient.narrow(dim, 1, length).add_(difference)
            gradient.narrow(dim, 0, length).sub_(difference)
        return gradient


def total_variation(x: torch.Tensor, form: Variation = "squared") -> torch.Tensor:
    """Of every image of x [n, C, H, W]: [n]; formulas in ``ImagePrior``."""
    down, across = x[..., 1:, :] - x[..., :-1, :], x[..., :, 1:] - x[..., :, :-1]
    if form == "squared":
        return down.square().flatten(1).mean(1) + across.square().flatten(1).mean(1)
    if form == "absolute":
        return down.abs().flatten(1).mean(1) + across.abs().flatten(1).mean(1)
    both = down[..., :, :-1].square() + across[..., :-1, :].square()
    # 1e-12 keeps the gradient finite where neighbours are equal, as they all are at the start.
    return (both + 1e-12).sqrt().flatten(1).sum(1) / x[0].numel()


def mismatch(z: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
    """The mean squared difference of each row, [n]."""
    return (z - observed).square().flatten(1).mean(1)


def mismatch_gradient(z: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
    """∂/∂z of the sum of ``mismatch``, z's shape: what goes back through the network that gave ``z``."""
    return (z.detach() - observed) * (2 / observed[0].numel())


def invert(
    forward: Callable[[torch.Tensor], torch.Tensor],
    observed: torch.Tensor,
    start: torch.Tensor,
    prior: ImagePrior,
    steps: int,
    lr: float,
    eps: float = 1e-8,
) -> torch.Tensor:
    """argmin over x [n, C, H, W] of mean((forward(x) − observed)²) + prior(x), by ``steps`` of Adam (amsgrad) from
    ``start``. He et al. 2019 call it regularised maximum likelihood estimation."""
    x = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=lr, amsgrad=True, eps=eps)
    for _ in range(steps):
        loss = (mismatch(forward(x), observed) + prior(x)).sum()
        (x.grad,) = torch.autograd.grad(loss, [x])
        optimizer.step()
    return x.detach()
