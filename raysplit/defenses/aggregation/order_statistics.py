"""Column-wise kernels that the aggregation rules and the attacks on them share.

All of them walk over blocks of columns, so that they need little memory beside the matrix, and they treat every column
alone and add rows in row order, so that a column's bits do not depend on the block or the shard it lies in.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

# Wide enough to amortise a call, small enough for the second-level cache, and no multiple of 1024: with that stride the
# rows of a column would fall on one cache set (0.53 s against 0.26 s for 100 x 1M float32).
BLOCK = 10_000


def column_blocks(matrix: torch.Tensor) -> Iterator[slice]:
    """Slices that cover the columns of ``matrix``, [n, d]."""
    d = matrix.shape[1]
    # torch.sort on a device needs values, int64 indices and scratch space: 1/20 of the columns keeps that near a quarter.
    width = BLOCK if matrix.device.type == "cpu" else max(BLOCK, d // 20)
    for start in range(0, d, width):
        yield slice(start, min(start + width, d))


def sort_columns(block: torch.Tensor) -> torch.Tensor:
    """A copy of ``block``, [n, w], with every column ascending; NaN counts as larger than any number."""
    if block.device.type == "cpu" and block.dtype in (torch.float32, torch.float64):
        # numpy's vectorised sort is some ten times faster here than torch.sort.
        return torch.from_numpy(np.sort(block.detach().numpy(), axis=0))
    return torch.sort(block, dim=0).values


def add_rows(block: torch.Tensor, first: int = 0, last: int | None = None) -> torch.Tensor:
    """Sum of the rows ``first`` … ``last`` - 1 of ``block``, added in row order, [w].

    Not ``block.sum(0)``: that adds in an order which depends on the width of the block.
    """
    rows = block[first:last].unbind(0)
    total = rows[0].clone()
    for row in rows[1:]:
        total.add_(row)
    return total


def weighted_sum(matrix: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Σ_i weights_i · matrix_i in row order, [d]; multiplied, rounded, then added, on every device."""
    total = matrix.new_empty(matrix.shape[1])
    factors = weights.to(dtype=matrix.dtype, device="cpu").tolist()
    for columns in column_blocks(matrix):
        rows = matrix[:, columns].unbind(0)
        part, term = rows[0] * factors[0], torch.empty_like(rows[0])
        for row, factor in zip(rows[1:], factors[1:], strict=True):
            part.add_(torch.mul(row, factor, out=term))
        total[columns] = part
    return total


def mean_std(*matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and sample standard deviation (ddof = 1, as ``torch.std``) of every column, [d] each; one row has std 0.

    Several matrices, [n_i, d], count as one with all their rows.
    """
    n = sum(matrix.shape[0] for matrix in matrices)
    mean, std = matrices[0].new_empty(matrices[0].shape[1]), matrices[0].new_zeros(matrices[0].shape[1])
    for columns in column_blocks(matrices[0]):
        rows = [row for matrix in matrices for row in matrix[:, columns].unbind(0)]
        centre = rows[0].clone()
        for row in rows[1:]:
            centre.add_(row)
        mean[columns] = centre.div_(n)
        if n > 1:
            squares, deviation = torch.zeros_like(centre), torch.empty_like(centre)
            for row in rows:
                torch.sub(row, centre, out=deviation)
                squares.add_(deviation.mul_(deviation))
            std[columns] = squares.div_(n - 1).sqrt_()
    return mean, std


def extremes(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Smallest and largest value of every column, [d] each."""
    low, high = matrix[0].clone(), matrix[0].clone()
    for columns in column_blocks(matrix):
        for row in matrix[1:, columns].unbind(0):
            torch.minimum(low[columns], row, out=low[columns])
            torch.maximum(high[columns], row, out=high[columns])
    return low, high


def mean_of_ranks(matrix: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """1/(last - first + 1) · Σ_{i=first..last} c_(i), [d], where c_(1) ≤ … ≤ c_(n) are a column's ascending values."""
    result = matrix.new_empty(matrix.shape[1])
    for columns in column_blocks(matrix):
        ordered = sort_columns(matrix[:, columns])
        result[columns] = add_rows(ordered, first - 1, last).div_(last - first + 1)
    return result
