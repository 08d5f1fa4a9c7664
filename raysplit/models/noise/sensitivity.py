"""By how much a change of a network's input can change what its first layers give: Δ_{p,q} = max ‖A(x) − A(x′)‖_q /
‖x − x′‖_p (Lecuyer et al. 2019, section 3.2; Thapa et al. 2022, eq. 4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from raysplit.models.noise.operator_norms import (
    Size,
    average_norm,
    convolution_norm,
    convolved,
    matrix_norm,
    resampled,
    resampling_norm,
)

Shape = tuple[int, ...]
"""Of a sample, without the batch"""
MEASURED_SAMPLES = 64
"""Of a batch, so many are compared with one another."""


class Sensitivity(Protocol):
    def of(self, outputs: torch.Tensor) -> float:
        """Δ of the layers before the noise, with the weights that they have now; ``outputs`` [B, …]: what they gave."""
        ...


Gain = Callable[[nn.Module, Shape, int, int], tuple[float, Shape]]
"""Of a layer on inputs of a shape from norm p to norm q: an upper bound, and the shape of its outputs."""


def _linear(layer: nn.Module, shape: Shape, p: int, q: int) -> tuple[float, Shape]:
    assert isinstance(layer, nn.Linear)
    return matrix_norm(layer.weight, p, q), (*shape[:-1], layer.out_features)


def _convolution(layer: nn.Module, shape: Shape, p: int, q: int) -> tuple[float, Shape]:
    assert isinstance(layer, nn.Conv2d)
    size = (shape[1], shape[2])
    return convolution_norm(layer, size, p, q), (layer.out_channels, *convolved(layer, size))


def _upsampling(layer: nn.Module, shape: Shape, p: int, q: int) -> tuple[float, Shape]:
    assert isinstance(layer, nn.Upsample)
    size = (shape[1], shape[2])
    return resampling_norm(layer, size, p, q), (shape[0], *resampled(layer))


def _average(layer: nn.Module, shape: Shape, p: int, q: int) -> tuple[float, Shape]:
    assert isinstance(layer, nn.AvgPool2d)
    kernel, stride, padding = (_pair(value) for value in (layer.kernel_size, layer.stride, layer.padding))
    size = (shape[1], shape[2])
    return average_norm(size, kernel, stride, padding, p, q), (shape[0], *_pooled(size, kernel, stride, padding))


def _maximum(layer: nn.Module, shape: Shape, p: int, q: int) -> tuple[float, Shape]:
    """A maximum changes by no more than the largest change in its window, and a number is in so many windows."""
    assert isinstance(layer, nn.MaxPool2d)
    kernel, stride, padding = (_pair(value) for value in (layer.kernel_size, layer.stride, layer.padding))
    windows = math.prod(-(-k // s) for k, s in zip(kernel, stride, strict=True))
    return windows ** (1 / q), (shape[0], *_pooled((shape[1], shape[2]), kernel, stride, padding))


def _steady(layer: nn.Module, shape: Shape, p: int, q: int) -> tuple[float, Shape]:
    """Number by number, none growing."""
    return 1.0, shape


def _flat(layer: nn.Module, shape: Shape, p: int, q: int) -> tuple[float, Shape]:
    return 1.0, (math.prod(shape),)


def _leaky(layer: nn.Module, shape: Shape, p: int, q: int) -> tuple[float, Shape]:
    assert isinstance(layer, nn.LeakyReLU)
    return max(1.0, abs(layer.negative_slope)), shape


LINEAR: dict[type, Gain] = {
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
    nn.AvgPool2d: _average,
    nn.Upsample: _upsampling,
}
OTHERS: dict[type, Gain] = {
    nn.MaxPool2d: _maximum,
    nn.ReLU: _steady,
    nn.ReLU6: _steady,
    nn.Tanh: _steady,
    nn.Sigmoid: _steady,
    nn.Identity: _steady,
    nn.LeakyReLU: _leaky,
    nn.Flatten: _flat,
}


def unbounded(layers: Sequence[nn.Module]) -> nn.Module | None:
    """The first layer of which no bound is known."""
    return next((layer for layer in layers if not _known(layer)), None)


def _known(layer: nn.Module) -> bool:
    match layer:
        case nn.Conv2d():
            return type(layer) is nn.Conv2d and layer.padding_mode == "zeros"
        case nn.MaxPool2d():
            return _pair(layer.dilation) == (1, 1) and not layer.ceil_mode and not layer.return_indices
        case nn.AvgPool2d():
            plain = layer.divisor_override is None and not layer.ceil_mode
            return plain and (layer.count_include_pad or _pair(layer.padding) == (0, 0))
        case nn.Upsample():
            return layer.size is not None and layer.mode in ("nearest", "bilinear", "bicubic")
        case nn.Flatten():
            return layer.start_dim == 1 and layer.end_dim == -1
    return type(layer) in LINEAR or type(layer) in OTHERS


@dataclass(frozen=True)
class BoundedSensitivity:
    """A true upper bound: the product of what each layer can do (Lecuyer et al. 2019, section 3.2).

    ``layers``: those before the noise, in order, each with a known bound; the first linear one takes norm ``p`` to norm
    ``q``. From norm 2 to norm 1 at the noise it is √m of m numbers. Before the first layer it is 1. Numbers are those
    of exact arithmetic: what float32 rounds on the way is left out.
    """

    layers: tuple[nn.Module, ...]
    shape: Shape
    p: int
    q: int

    def of(self, outputs: torch.Tensor) -> float:
        return self.now()

    def now(self) -> float:
        """With the present weights."""
        norm, shape, product = self.p, self.shape, 1.0
        for layer in self.layers:
            linear = LINEAR.get(type(layer))
            after = max(norm, self.q) if linear is not None else norm
            gain, shape = (linear or OTHERS[type(layer)])(layer, shape, norm, after)
            product, norm = product * gain, after
        return product * (math.sqrt(math.prod(shape)) if norm > self.q else 1.0)


class NotedInput(nn.Module):
    """Passes a network's input on and keeps the first samples of the last batch."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = x.detach()[:MEASURED_SAMPLES]
        return x


@dataclass(frozen=True)
class MeasuredSensitivity:
    """The largest ratio among pairs of inputs (Thapa et al. 2022, eq. 4): of the first 64 samples of the batch at hand,
    an input of zeros and one of ones. Other pairs may have a larger one, so it is an estimate and guarantees nothing.
    """

    layers: tuple[nn.Module, ...]
    noted: NotedInput
    p: int
    q: int

    def of(self, outputs: torch.Tensor) -> float:
        seen = self.noted.seen
        assert seen is not None
        with torch.no_grad():
            made = references = torch.cat([seen.new_zeros(1, *seen.shape[1:]), seen.new_ones(1, *seen.shape[1:])])
            for layer in self.layers:
                made = layer(made)
            x = torch.cat([seen, references]).flatten(1).to("cpu", torch.float64)
            a = torch.cat([outputs.detach()[: len(seen)], made]).flatten(1).to("cpu", torch.float64)
            moved, given = _distances(a, self.q), _distances(x, self.p)
        apart = given > 0
        return float((moved[apart] / given[apart]).max())


def _distances(rows: torch.Tensor, norm: int) -> torch.Tensor:
    """[n, n]; by differences, since products would give equal rows a distance of rounding errors."""
    return torch.cdist(rows, rows, p=norm, compute_mode="donot_use_mm_for_euclid_dist")


def _pair(value: int | tuple[int, ...]) -> Size:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _pooled(size: Size, kernel: Size, stride: Size, padding: Size) -> Size:
    height, width = ((n + 2 * pad - k) // s + 1 for n, k, s, pad in zip(size, kernel, stride, padding, strict=True))
    return height, width
