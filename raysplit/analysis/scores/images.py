"""How near reconstructed images are to the true ones: MSE, PSNR, SSIM, and whether they can be told from others."""

from __future__ import annotations

import torch
from torch.nn import functional

_WINDOW, _SIGMA, _K1, _K2 = 11, 1.5, 0.01, 0.03


def mse(found: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Mean squared error of every image, [n]; images [n, C, H, W]."""
    return (found - truth).square().flatten(1).mean(1)


def stretched(found: torch.Tensor) -> torch.Tensor:
    """Every image [n, C, H, W] from its own least and largest value to 0 and 1, as a viewer's automatic contrast does; an
    image of one value stays as it is. What is left of an error is not of brightness or contrast."""
    flat = found.flatten(1)
    least, most = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    span = most - least
    return torch.where(span > 0, (flat - least) / torch.where(span > 0, span, 1), flat).view(found.shape)


def psnr(found: torch.Tensor, truth: torch.Tensor, data_range: float = 1.0) -> torch.Tensor:
    """10·log10(range² / MSE) of every image in dB, [n]; infinite where an image is exact. The mean over images is not
    the PSNR of their mean error."""
    return 10 * torch.log10(data_range**2 / mse(found, truth))


def ssim(found: torch.Tensor, truth: torch.Tensor, data_range: float = 1.0) -> torch.Tensor:
    """Structural similarity of every image, [n], at most 1.

    Gaussian window of side 11 and σ 1.5, K1 0.01, K2 0.03, population covariances, over the places where the window
    lies wholly inside, mean over channels. Source: Wang et al. 2004. Images smaller than the window take the largest odd
    window that fits.
    """
    found, truth = found.double(), truth.double()
    channels = truth.shape[1]
    size = min(_WINDOW, *(side - 1 + side % 2 for side in truth.shape[2:]))
    at = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    line = torch.exp(-(at**2) / (2 * _SIGMA**2))
    line = line / line.sum()
    window = (line[:, None] * line).expand(channels, 1, size, size)

    def local_mean(x: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(x, window, groups=channels)

    mean_a, mean_b = local_mean(found), local_mean(truth)
    variance_a = local_mean(found * found) - mean_a**2
    variance_b = local_mean(truth * truth) - mean_b**2
    covariance = local_mean(found * truth) - mean_a * mean_b
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    value = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    value = value / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))
    return value.flatten(1).mean(1)


def identified(found: torch.Tensor, truth: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Whether the nearest of all images, true ones and ``others`` [m, C, H, W], by Euclidean distance, is the true one:
    bool [n]. A guess is right in 1 of n + m cases."""
    known = torch.cat([truth, others]).flatten(1).double()
    distances = torch.cdist(found.flatten(1).double(), known)
    return distances.argmin(1) == torch.arange(len(truth))
