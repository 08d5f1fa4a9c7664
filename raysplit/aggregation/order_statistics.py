"""Column-wise kernels that the aggregation rules and the attacks on them share.

All of them walk over blocks of columns, so that they need little memory beside the matrix, and they treat every column
alone and add rows in row order, so that a column's bits do not depend on the block or the shard it lies in. On the CPU
numpy does the work: one call reduces a block, where torch would need one per row.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

# Wide enough to amortise a call, small enough for the cache, and no multiple of 1024: with that stride the rows of a
# column would fall on one cache set.
BLOCK = 5_000
# Values in a narrow block: what a few passes of a numpy kernel, each with a copy, keep in the second-level cache.
NARROW = 100_000


def column_blocks(matrix: torch.Tensor, narrow: bool = False) -> Iterator[slice]:
    """Slices that cover the columns of ``matrix``, [n, d]; ``narrow`` where several numpy passes go over each block."""
    n, d = matrix.shape
    if matrix.device.type != "cpu":
        # torch.sort on a device needs values, int64 indices and scratch space: 1/20 of the columns keeps that near a
        # quarter.
        width = max(BLOCK, d // 20)
    elif narrow and by_numpy(matrix):
        width = min(BLOCK, max(200, NARROW // max(1, n)))
        width -= 8 * (width % 1024 == 0)
    else:
        width = BLOCK
    for start in range(0, d, width):
        yield slice(start, min(start + width, d))


def by_numpy(matrix: torch.Tensor) -> bool:
    """Whether numpy's kernels take ``matrix``: numpy has no bfloat16, and its float16 is slow."""
    return matrix.device.type == "cpu" and matrix.dtype in (torch.float32, torch.float64)


def ascending_blocks(matrix: torch.Tensor, rows: torch.Tensor | None = None) -> Iterator[tuple[slice, torch.Tensor]]:
    """Slices that cover the columns of ``matrix``, [n, d], and the values of each such column side by side and
    ascending, [w, n].

    Of all rows or, [w, k], of k ``rows`` (indices). NaN counts as larger than any number. The values may be written to,
    and are gone with the next block.
    """
    if not by_numpy(matrix):
        for columns in column_blocks(matrix, narrow=True):
            block = matrix[:, columns]
            block = block if rows is None else block.index_select(0, rows.to(block.device))
            yield columns, torch.sort(block, dim=0).values.T
        return
    # numpy's vectorised sort is some ten times faster here than torch.sort. It wants the values of a column next to
    # each other. Two copies, of the block and then of its transpose, get there in a third of the time of one that reads
    # columns from rows far apart.
    array, n = matrix.detach().numpy(), len(matrix) if rows is None else len(rows)
    picked = None if rows is None else rows.numpy()
    copied = turned = np.empty((0, 0), array.dtype)
    for columns in column_blocks(matrix, narrow=True):
        width = columns.stop - columns.start
        if len(turned) != width:  # one for all blocks but the last: fresh memory costs a fifth more
            copied, turned = np.empty((n, width), array.dtype), np.empty((width, n), array.dtype)
        copied[:] = array[:, columns] if picked is None else array[picked, columns]
        turned[:] = copied.T
        turned.sort(axis=1)
        yield columns, torch.from_numpy(turned)


def ranks_of(values: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """c_(first) … c_(last) as rows, a new tensor [last - first + 1, w], of ascending ``values``, [w, n]."""
    kept = values[:, first - 1 : last].T
    if not by_numpy(kept):
        return kept.contiguous()
    return torch.from_numpy(np.array(kept.numpy(), order="C"))  # faster than torch's


def sum_of_ranks(values: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """c_(first) + … + c_(last), [w], of ascending ``values``, [w, n]; not added in their order, as
    ``add_rows(ranks_of(…))`` would."""
    kept = values[:, first - 1 : last]
    return torch.from_numpy(np.einsum("ij->i", kept.numpy())) if by_numpy(kept) else kept.sum(1)


def add_rows(block: torch.Tensor, first: int = 0, last: int | None = None) -> torch.Tensor:
    """Sum of the rows ``first`` … ``last`` - 1 of ``block``, added in row order, [w].

    Not ``block.sum(0)``: that adds in an order which depends on the width of the block.
    """
    kept = block[first:last]
    # numpy adds whole rows one after another, unless there is one column only or rows are not contiguous.
    if by_numpy(kept) and kept.stride(1) == 1 and kept.shape[1] > 1 and kept.stride(0) >= kept.shape[1]:
        return torch.from_numpy(np.add.reduce(kept.detach().numpy(), axis=0))
    rows = kept.unbind(0)
    total = rows[0].clone()
    for row in rows[1:]:
        total.add_(row)
    return total


def scaled_sum(matrix: torch.Tensor, factors: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
    """Σ_i factors_i · matrix_i in row order, [d], of all rows or of k ``rows`` (indices); ``factors``: [n] or [k], of
    its dtype.

    In one pass over the matrix, faster than ``weighted_sum``; whether a product is rounded before it is added is for
    numpy's build to say.
    """
    total = matrix.new_empty(matrix.shape[1])
    for columns in column_blocks(matrix):
        block = matrix[:, columns] if rows is None else matrix[:, columns].index_select(0, rows)
        if by_numpy(block) and block.stride(1) == 1 and block.shape[1] > 1 and block.stride(0) >= block.shape[1]:
            np.einsum("i,ij->j", factors.numpy(), block.detach().numpy(), out=total[columns].numpy())
        else:
            total[columns] = add_rows(block * factors[:, None])
    return total


def weighted_sum(matrix: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Σ_i weights_i · matrix_i in row order, [d]; multiplied, rounded, then added, on every device."""
    total = matrix.new_empty(matrix.shape[1])
    factors = weights.to(matrix)[:, None]
    for columns in column_blocks(matrix, narrow=True):
        total[columns] = add_rows(matrix[:, columns] * factors)
    return total


def mean_std(*matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and sample standard deviation (ddof = 1, as ``torch.std``) of every column, [d] each; one row has std 0.

    Several matrices, [n_i, d], count as one with all their rows.
    """
    mean, std = matrices[0].new_empty(matrices[0].shape[1]), matrices[0].new_zeros(matrices[0].shape[1])
    deviations: torch.Tensor | None = None
    for columns in column_blocks(matrices[0], narrow=True):
        blocks = [matrix[:, columns] for matrix in matrices]
        block = blocks[0] if len(blocks) == 1 else torch.cat(blocks)
        if deviations is None or deviations.shape != block.shape:  # one for all blocks but the last
            deviations = torch.empty_like(block, memory_format=torch.contiguous_format)
        mean[columns], std[columns] = block_mean_std(block, deviations)
    return mean, std


def block_mean_std(block: torch.Tensor, out: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """The same of one ``block``, [n, w]: [w] each; ``out``: where deviations of its shape may be written."""
    n = block.shape[0]
    mean = add_rows(block).div_(n)
    if n == 1:
        return mean, torch.zeros_like(mean)
    deviations = torch.sub(block, mean, out=out)
    return mean, add_rows(deviations.mul_(deviations)).div_(n - 1).sqrt_()


def extremes(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Smallest and largest value of every column, [d] each; NaN where a column holds one."""
    low, high = matrix.new_empty(matrix.shape[1]), matrix.new_empty(matrix.shape[1])
    for columns in column_blocks(matrix, narrow=True):
        block = matrix[:, columns]
        if by_numpy(block):
            array = block.detach().numpy()
            low[columns] = torch.from_numpy(np.minimum.reduce(array, axis=0))
            high[columns] = torch.from_numpy(np.maximum.reduce(array, axis=0))
        else:
            low[columns], high[columns] = block.amin(0), block.amax(0)
    return low, high


def mean_of_ranks(matrix: torch.Tensor, first: int, last: int) -> torch.Tensor:
    """1/(last - first + 1) · Σ_{i=first..last} c_(i), [d], where c_(1) ≤ … ≤ c_(n) are a column's ascending values."""
    result = matrix.new_empty(matrix.shape[1])
    for columns, values in ascending_blocks(matrix):
        result[columns] = add_rows(ranks_of(values, first, last)).div_(last - first + 1)
    return result


def drawn_columns(rng: np.random.Generator, d: int, count: int) -> torch.Tensor:
    """``count`` of d columns at random, bool [d]; all of them, and nothing is drawn, where ``count`` ≥ d."""
    chosen = torch.full((d,), count >= d)
    if count < d:
        chosen[torch.from_numpy(rng.choice(d, count, replace=False, shuffle=False))] = True
    return chosen


def chosen_columns(rows: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """The ``chosen`` columns, bool [w], of ``rows``, [n, w]; themselves where that is all."""
    return rows if bool(chosen.all()) else rows.index_select(1, chosen.nonzero().flatten().to(rows.device))
