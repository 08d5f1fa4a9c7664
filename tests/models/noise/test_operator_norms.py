"""Operator norms against the matrix of a layer, built column by column, and its singular values."""

import pytest
import torch
from torch import nn

from raysplit.models.noise.operator_norms import average_norm, convolution_norm, matrix_norm, resampling_norm

NORMS = [(1, 1), (1, 2), (2, 2)]
SIZE = (9, 8)


def matrix_of(layer, channels):
    """Column i is what the layer makes of the i-th unit input, its bias taken off."""
    layer = layer.double()
    columns = []
    with torch.no_grad():
        nothing = layer(torch.zeros(1, channels, *SIZE, dtype=torch.float64))
        for i in range(channels * SIZE[0] * SIZE[1]):
            unit = torch.zeros(channels * SIZE[0] * SIZE[1], dtype=torch.float64)
            unit[i] = 1
            columns.append((layer(unit.view(1, channels, *SIZE)) - nothing).flatten())
    return torch.stack(columns, 1)


def exact(matrix, p, q):
    if p == 2:
        return float(torch.linalg.svdvals(matrix).max())
    return float(torch.linalg.vector_norm(matrix, q, dim=0).max())


@pytest.mark.parametrize(("p", "q"), NORMS)
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3},
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 5, "padding": 2, "stride": 2},
        {"kernel_size": 4, "padding": 1, "stride": 3},
        {"kernel_size": 3, "padding": 2, "dilation": 2},
        {"kernel_size": 3, "padding": "same", "groups": 2},
        {"kernel_size": (2, 3), "stride": (1, 2), "padding": "valid"},
        {"kernel_size": 2, "stride": 3},
    ],
    ids=repr,
)
def test_a_convolutions_norm_is_bounded_from_above_and_not_by_much(options, p, q):
    torch.manual_seed(3)
    layer = nn.Conv2d(2, 4, **options)
    true = exact(matrix_of(layer, 2), p, q)
    bound = convolution_norm(layer, SIZE, p, q)
    assert true <= bound <= (1.4 if p == 2 else 1 + 1e-8) * true


@pytest.mark.parametrize(("p", "q"), NORMS)
def test_a_matrix_norm_is_exact(p, q):
    matrix = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert matrix_norm(matrix, p, q) == pytest.approx(exact(matrix, p, q), rel=1e-8)


@pytest.mark.parametrize(("p", "q"), NORMS)
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 0)])
def test_average_poolings_norm_is_bounded_from_above(kernel, stride, padding, p, q):
    layer = nn.AvgPool2d(kernel, stride, padding)
    true = exact(matrix_of(layer, 2), p, q)
    pairs = ((kernel, kernel), (stride, stride), (padding, padding))
    assert true <= average_norm(SIZE, *pairs, p, q) <= 1.3 * true


@pytest.mark.parametrize(("p", "q"), NORMS)
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_an_enlargements_norm_is_exact(mode, p, q):
    layer = nn.Upsample(size=(13, 11), mode=mode)
    assert resampling_norm(layer, SIZE, p, q) == pytest.approx(exact(matrix_of(layer, 1), p, q), rel=1e-7)
