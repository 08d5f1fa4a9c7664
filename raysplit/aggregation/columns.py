"""A matrix of updates that offers only sums over columns and column-wise maps, so that its columns may lie
anywhere.

A rule that asks for nothing else runs on one process and on column shards alike. Its *kernels* are functions of some
columns of all rows, [n, w], and of the same columns of vectors; they are module-level functions, at most with arguments
bound by ``functools.partial``, so that they can be sent to where the columns are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import torch

from raysplit.aggregation.across import stripes_of
from raysplit.aggregation.order_statistics import column_blocks, scaled_sum

Kernel = Callable[..., torch.Tensor]
"""``kernel(rows, *vectors)``: rows [n, w], which it leaves as they are, and of each vector the same w columns."""


@runtime_checkable
class Columns(Protocol):
    """Updates [n, d]. Vectors are [d] or [k, d]; where they lie does not matter."""

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        ...

    def total(self, kernel: Kernel, *vectors: torch.Tensor) -> torch.Tensor:
        """Σ kernel(rows, *vectors) over the stripes of columns (across.py), in their order, on the CPU. Its shape
        depends on n alone."""
        ...

    def map(self, kernel: Kernel, *vectors: torch.Tensor) -> torch.Tensor:
        """The kernel's [w] or [k, w] of all shards side by side, [d] or [k, d]. It treats every column alone."""
        ...


@dataclass(frozen=True, eq=False)
class Whole:
    """All columns in this process."""

    updates: torch.Tensor

    @property
    def shape(self) -> tuple[int, int]:
        n, d = self.updates.shape
        return n, d

    def total(self, kernel: Kernel, *vectors: torch.Tensor) -> torch.Tensor:
        parts = stripe_parts(self.updates, kernel, vectors, stripes_of(self.shape[1], 0, self.shape[1]))
        return added(parts)

    def map(self, kernel: Kernel, *vectors: torch.Tensor) -> torch.Tensor:
        return kernel(self.updates, *vectors)


def stripe_parts(
    rows: torch.Tensor, kernel: Kernel, vectors: Sequence[torch.Tensor], stripes: Sequence[slice]
) -> Iterator[torch.Tensor]:
    """The kernel's result for each of the ``stripes`` of ``rows`` and ``vectors``, on the CPU."""
    for stripe in stripes:
        yield kernel(rows[:, stripe], *(vector[..., stripe] for vector in vectors)).cpu()


def added(parts: Iterable[torch.Tensor]) -> torch.Tensor:
    """The sum of the ``parts`` in their order, a new tensor."""
    total: torch.Tensor | None = None
    for part in parts:
        total = part.clone() if total is None else total.add_(part)
    if total is None:
        raise ValueError("there are no columns to take a sum over")
    return total


@dataclass(frozen=True, eq=False)
class MixedColumns:
    """The rows y = M u, [b, d], made block by block where they are needed and never kept.

    ``mixing``: M, float64 [b, n]. A row u_j with nothing but 0 in its column of M gets in nowhere, not even as a NaN; a
    row of M that holds a NaN gives a row of NaN, and has no effect on the others. A row that is not finite spoils the
    mixed rows in which it has a share; where rows have shares in several mixed rows, M must use none that is not
    finite, or all are spoilt.
    """

    columns: Columns
    mixing: torch.Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return self.mixing.shape[0], self.columns.shape[1]

    def total(self, kernel: Kernel, *vectors: torch.Tensor) -> torch.Tensor:
        return self.columns.total(partial(_total_of_mixed, kernel, self.mixing), *vectors)

    def map(self, kernel: Kernel, *vectors: torch.Tensor) -> torch.Tensor:
        return self.columns.map(partial(_map_of_mixed, kernel, self.mixing), *vectors)


def combined(columns: Columns, factors: torch.Tensor) -> torch.Tensor:
    """Σ_i factors_i · u_i over the rows with a factor other than 0, in row order, [d].

    Of mixed rows it is one combination of the rows that were mixed, and costs no mixing.
    """
    while isinstance(columns, MixedColumns):
        factors = factors.cpu()
        kept = factors != 0  # a row of NaN with a factor of 0 must not get in
        factors, columns = factors[kept].double() @ columns.mixing[kept], columns.columns
    return columns.map(partial(combine, factors=factors))


def gathered(columns: Columns) -> torch.Tensor:
    """The matrix itself, [n, d], in this process, for what can be computed in no other way. No copy where it is here
    already."""
    return columns.map(_identity)


def combine(updates: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Σ_i factors_i · u_i over the rows with a factor other than 0, in row order, [d]. ``updates``: [n, d];
    ``factors``: [n]."""
    kept = factors.nonzero().flatten()
    if not len(kept):
        return updates.new_zeros(updates.shape[1])
    if 2 * len(kept) >= len(updates):
        total = scaled_sum(updates, factors.to(updates))
        if len(kept) == len(updates) or bool(total.isfinite().all()):
            return total
    # A factor of 0 must not let a NaN in.
    return scaled_sum(updates, factors[kept].to(updates), kept.to(updates.device))


def mix_rows(rows: torch.Tensor, mixing: torch.Tensor) -> torch.Tensor:
    """M u, [b, w], a new matrix; ``rows``: [n, w]; ``mixing``: M, as ``MixedColumns`` has it."""
    shares = mixing.nan_to_num(0.0).ne(0).sum(0)
    used = (shares > 0).to(rows.device)
    if not bool(used.all()):
        rows = rows.masked_fill(~used[:, None], 0)
    if mixing.shape[0] == mixing.shape[1] and bool((mixing == mixing.diagonal().diag()).all()):
        return rows * mixing.diagonal().to(rows)[:, None]
    if int(shares.max()) <= 1:  # a product would let a row that is not finite into all
        return torch.stack([combine(rows, factors) for factors in mixing])
    return mixing.to(rows) @ rows


def _identity(rows: torch.Tensor) -> torch.Tensor:
    return rows


def _total_of_mixed(kernel: Kernel, mixing: torch.Tensor, rows: torch.Tensor, *vectors: torch.Tensor) -> torch.Tensor:
    total: torch.Tensor | None = None
    for part in _of_mixed(kernel, mixing, rows, vectors):
        total = part if total is None else total.add_(part)
    assert total is not None
    return total


def _map_of_mixed(kernel: Kernel, mixing: torch.Tensor, rows: torch.Tensor, *vectors: torch.Tensor) -> torch.Tensor:
    result, start = None, 0
    for part in _of_mixed(kernel, mixing, rows, vectors):
        if result is None:
            result = part.new_empty(*part.shape[:-1], rows.shape[1])
        result[..., start : start + part.shape[-1]] = part
        start += part.shape[-1]
    assert result is not None
    return result


def _of_mixed(
    kernel: Kernel, mixing: torch.Tensor, rows: torch.Tensor, vectors: tuple[torch.Tensor, ...]
) -> Iterator[torch.Tensor]:
    for columns in column_blocks(rows) if rows.shape[1] else [slice(0, 0)]:
        yield kernel(mix_rows(rows[:, columns], mixing), *(vector[..., columns] for vector in vectors))
