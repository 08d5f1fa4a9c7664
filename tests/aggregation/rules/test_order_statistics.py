import itertools

import numpy as np
import pytest
import torch

from raysplit.aggregation import order_statistics as kernels


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("d", [1, 7, 10_001])
def test_kernels_agree_with_torch(dtype, d):
    matrix = torch.randn(9, d, generator=torch.Generator().manual_seed(1)).to(dtype)
    before = matrix.clone()
    mean, std = kernels.mean_std(matrix[:4], matrix[4:])
    torch.testing.assert_close(mean, matrix.mean(0))
    torch.testing.assert_close(std, matrix.std(0))
    low, high = kernels.extremes(matrix)
    assert torch.equal(low, matrix.amin(0)) and torch.equal(high, matrix.amax(0))
    torch.testing.assert_close(kernels.mean_of_ranks(matrix, 3, 5), matrix.sort(0).values[2:5].mean(0))
    weights = torch.rand(9, dtype=dtype)
    torch.testing.assert_close(kernels.weighted_sum(matrix, weights), weights @ matrix)
    assert torch.equal(matrix, before)
    assert mean.dtype is std.dtype is low.dtype is dtype


def test_bits_of_a_column_depend_on_nothing_but_the_column():
    matrix = torch.randn(100, 30_011, generator=torch.Generator().manual_seed(2))
    weights = torch.rand(100)
    cuts = [0, 1, 17, 10_000, 20_480, 30_010, 30_011]

    def sharded(function):
        return torch.cat([function(matrix[:, a:b].contiguous()) for a, b in itertools.pairwise(cuts)])

    for function in (
        lambda part: kernels.weighted_sum(part, weights),
        lambda part: kernels.mean_std(part)[0],
        lambda part: kernels.mean_std(part)[1],
        lambda part: kernels.mean_of_ranks(part, 21, 80),
    ):
        assert torch.equal(function(matrix), sharded(function))


def test_weighted_sum_is_the_plain_row_by_row_loop():
    matrix = torch.randn(50, 1003, generator=torch.Generator().manual_seed(3))
    weights = torch.rand(50)
    total = np.zeros(1003, dtype=np.float32)
    for i in range(50):
        total = (weights[i].numpy() * matrix[i].numpy()) + total if i else weights[i].numpy() * matrix[i].numpy()
    assert np.array_equal(kernels.weighted_sum(matrix, weights).numpy(), total)


def sorted_columns(matrix, rows=None):
    """What the blocks say of the whole matrix, put together again."""
    blocks = [kernels.ranks_of(values, 1, values.shape[1]) for _, values in kernels.ascending_blocks(matrix, rows)]
    return torch.cat(blocks, 1)


@pytest.mark.parametrize(("n", "d"), [(1, 1), (1, 5), (3, 1), (100, 2_345), (1_000, 999), (128, 1_024)])
def test_blocks_are_sorted_whatever_their_shape_and_leave_the_matrix_alone(n, d):
    matrix = torch.randn(n, d, generator=torch.Generator().manual_seed(4))
    before = matrix.clone()
    assert torch.equal(sorted_columns(matrix), matrix.sort(0).values)
    assert torch.equal(sorted_columns(matrix.T.contiguous().T), matrix.sort(0).values)
    some = torch.arange(n)[:: 2 if n > 2 else 1]
    assert torch.equal(sorted_columns(matrix, some), matrix[some].sort(0).values)
    for _, values in kernels.ascending_blocks(matrix):
        torch.testing.assert_close(kernels.sum_of_ranks(values, 1, n), values.sum(1), atol=1e-6 * n, rtol=0)
        values.zero_()
    assert torch.equal(matrix, before)


def test_other_dtypes_take_the_torch_path_and_nan_sorts_last():
    half = torch.randn(5, 6).bfloat16()
    assert torch.equal(sorted_columns(half), half.sort(0).values)
    with_nan = torch.tensor([[float("nan")], [1.0], [float("inf")]])
    assert torch.equal(sorted_columns(with_nan)[:2], torch.tensor([[1.0], [float("inf")]]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_device_gives_the_same_bits():
    matrix, weights = torch.randn(20, 25_000), torch.rand(20)
    for function in (
        lambda part: kernels.weighted_sum(part, weights),
        lambda part: kernels.mean_std(part)[0],
        lambda part: kernels.mean_of_ranks(part, 3, 18),
    ):
        assert torch.equal(function(matrix), function(matrix.cuda()).cpu())
