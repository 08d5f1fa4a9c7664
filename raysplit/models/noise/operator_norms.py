"""Operator norms p→q of linear layers: the largest ‖Ax‖_q over inputs of ‖x‖_p ≤ 1, or an upper bound of it.

Supported are 1→1 (the largest column's sum of absolute values), 1→2 (the largest column's length) and 2→2 (the largest
singular value). Taken in float64 on the CPU, so that all devices agree; rounding is covered by ``SLACK``.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

Size = tuple[int, int]
SLACK = 1 + 1e-9


def matrix_norm(matrix: torch.Tensor, p: int, q: int) -> float:
    """Of ``matrix`` [m, n], exact."""
    values = matrix.detach().to("cpu", torch.float64)
    if p == 1:
        return float(torch.linalg.vector_norm(values, q, dim=0).max()) * SLACK
    return _largest_singular_value(values) * SLACK


def convolution_norm(layer: nn.Conv2d, size: Size, p: int, q: int) -> float:
    """An upper bound for a convolution with zero padding on images of ``size``.

    With stride s the input is seen as s² interleaved images, one a phase, which turns it into a convolution of stride
    1. For 1→q the columns are then the kernel's own, but for those that the border shortens. For 2→2 such a
    convolution is part of the circular one on a torus on which nothing wraps round, whose singular values are those
    of its kernel's Fourier transform, one matrix [out, in] a frequency (Sedghi, Gupta and Long 2019).
    """
    weight = layer.weight.detach().to("cpu", torch.float64)
    strides, dilations = _pair(layer.stride), _pair(layer.dilation)
    kernels = _phases(_dilated(weight, dilations), strides)
    if p == 1:
        columns = torch.linalg.vector_norm(kernels.flatten(2), q, dim=2)  # of one output channel
        return max(float(torch.linalg.vector_norm(c, q, dim=0).max()) for c in columns.chunk(layer.groups)) * SLACK
    outputs = convolved(layer, size)
    paddings = padding_of(layer)
    torus = [
        max(-(-(n + pads) // s), out + k - 1)
        for n, pads, s, out, k in zip(size, paddings, strides, outputs, kernels.shape[2:], strict=True)
    ]
    transformed = torch.fft.rfft2(kernels, s=torus).permute(2, 3, 0, 1)  # [frequencies, frequencies, out, in]
    return max(_largest_singular_value(group) for group in transformed.chunk(layer.groups, dim=2)) * SLACK


def average_norm(size: Size, kernel: Size, stride: Size, padding: Size, p: int, q: int) -> float:
    """An upper bound for average pooling: each channel by itself is a convolution with equal weights."""
    layer = nn.Conv2d(1, 1, kernel, stride, padding, bias=False)
    nn.init.constant_(layer.weight, 1 / math.prod(kernel))
    return convolution_norm(layer, size, p, q)


def resampling_norm(layer: nn.Upsample, size: Size, p: int, q: int) -> float:
    """Of interpolation in height and then in width, exact: norms of a Kronecker product are products of norms."""
    target = resampled(layer)
    rows = _interpolated(layer, (size[0], 1), (target[0], 1))
    columns = _interpolated(layer, (1, size[1]), (1, target[1]))
    return matrix_norm(rows, p, q) * matrix_norm(columns, p, q)


def convolved(layer: nn.Conv2d, size: Size) -> Size:
    """The size of a convolution's output."""
    outputs = [
        (n + pads - dilation * (k - 1) - 1) // s + 1
        for n, pads, dilation, k, s in zip(
            size, padding_of(layer), _pair(layer.dilation), layer.kernel_size, _pair(layer.stride), strict=True
        )
    ]
    return outputs[0], outputs[1]


def resampled(layer: nn.Upsample) -> Size:
    """The size that an ``nn.Upsample`` was made for."""
    assert layer.size is not None
    height, width = layer.size if isinstance(layer.size, tuple) else (layer.size, layer.size)
    return height, width


def padding_of(layer: nn.Conv2d) -> Size:
    """What is added in height and in width, both sides together."""
    if layer.padding == "valid":
        return 0, 0
    if layer.padding == "same":
        both = [d * (k - 1) for d, k in zip(_pair(layer.dilation), layer.kernel_size, strict=True)]
        return both[0], both[1]
    height, width = _pair(layer.padding)  # type: ignore[arg-type]
    return 2 * height, 2 * width


def _pair(value: int | tuple[int, ...]) -> Size:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _dilated(kernels: torch.Tensor, dilations: Size) -> torch.Tensor:
    """[out, in, kh, kw] with the zeros between its entries written out."""
    height, width = (d * (k - 1) + 1 for d, k in zip(dilations, kernels.shape[2:], strict=True))
    dilated = kernels.new_zeros(*kernels.shape[:2], height, width)
    dilated[..., :: dilations[0], :: dilations[1]] = kernels
    return dilated


def _phases(kernels: torch.Tensor, strides: Size) -> torch.Tensor:
    """[out, in, kh, kw] of stride s → [out, in · s_h · s_w, ⌈kh / s_h⌉, ⌈kw / s_w⌉] of stride 1 on the phases."""
    out, channels, height, width = kernels.shape
    tall, wide = -(-height // strides[0]), -(-width // strides[1])
    filled = functional.pad(kernels, (0, wide * strides[1] - width, 0, tall * strides[0] - height))
    parts = filled.view(out, channels, tall, strides[0], wide, strides[1]).permute(0, 1, 3, 5, 2, 4)
    return parts.reshape(out, channels * strides[0] * strides[1], tall, wide)


def _largest_singular_value(matrices: torch.Tensor) -> float:
    """Of all of [..., m, n], from the smaller of the two products of each with itself."""
    wide = matrices.shape[-2] < matrices.shape[-1]
    squares = matrices @ matrices.mH if wide else matrices.mH @ matrices
    return math.sqrt(max(float(torch.linalg.eigvalsh(squares).max()), 0.0))


def _interpolated(layer: nn.Upsample, size: Size, target: Size) -> torch.Tensor:
    """The matrix [target, size] of interpolation along the one axis that is longer than 1."""
    count = math.prod(size)
    basis = torch.eye(count, dtype=torch.float64).view(count, 1, *size)
    made = functional.interpolate(basis, size=target, mode=layer.mode, align_corners=layer.align_corners)
    return made.flatten(1).T
