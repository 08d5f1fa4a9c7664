"""One n x n Gram matrix serves every rule and attack that goes by distances or angles between whole updates."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from raysplit.aggregation.across import Across
from raysplit.aggregation.order_statistics import column_blocks

# Rows of a panel of a Gram matrix.
PANEL = 64


def centred_gram(rows: torch.Tensor, centre: torch.Tensor, *extra: torch.Tensor) -> torch.Tensor:
    """G = X Xᵀ in float64, [n + e, n + e], for X = the ``rows`` minus ``centre`` and below them the ``extra`` rows as
    they are.

    ``rows``: [n, d]; ``centre`` and each of the e ``extra``: [d]. A sum over blocks of columns, so column shards of it
    add up to the whole. Centring first keeps small distances between large updates exact.
    """
    n = rows.shape[0] + len(extra)
    gram = torch.zeros(n, n, dtype=torch.float64, device=rows.device)
    buffer: torch.Tensor | None = None
    for columns in column_blocks(rows):
        width = columns.stop - columns.start
        if buffer is None or buffer.shape[1] != width:
            buffer = rows.new_empty(n, width)
        torch.sub(rows[:, columns], centre[columns].to(rows), out=buffer[: rows.shape[0]])
        for place, row in enumerate(extra, rows.shape[0]):
            buffer[place] = row[columns]
        add_products(gram, buffer)
    return mirrored(gram)


def add_products(gram: torch.Tensor, rows: torch.Tensor) -> None:
    """Add ⟨row_i, row_j⟩ of the ``rows``, [n, w], to ``gram``, float64 [n, n], for i ≥ j; ``mirrored`` does the rest at
    the end.

    A panel of rows at a time, so that little is multiplied that is not needed: with n = 1000 that takes 0.6 of the
    time, with 100 0.9.
    """
    n = len(rows)
    width = PANEL if rows.device.type == "cpu" else max(1, n)
    for first in range(0, n, width):
        last = min(first + width, n)
        gram[first:last, :last] += (rows[first:last] @ rows[:last].T).double()


def mirrored(gram: torch.Tensor) -> torch.Tensor:
    """The symmetric matrix with the lower half of ``gram``, a new tensor [n, n]."""
    return gram.tril() + gram.tril(-1).T


def products_with(rows: torch.Tensor, centre: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
    """⟨y, x_i⟩ for each of the ``rows`` [n, d] and, last, ⟨y, y⟩, where y is ``point`` and x a row, both less
    ``centre``; float64 [n + 1].

    One more row of ``centred_gram``, for less than it costs to make that anew.
    """
    products = torch.zeros(rows.shape[0] + 1, dtype=torch.float64, device=rows.device)
    for columns in column_blocks(rows, narrow=True):
        middle = centre[columns].to(rows)
        y = point[columns].to(rows) - middle
        products[:-1] += ((rows[:, columns] - middle) @ y).double()
        products[-1] += (y @ y).double()
    return products


def gram_over(across: Across, rows: torch.Tensor, centre: torch.Tensor, *extra: torch.Tensor) -> torch.Tensor:
    """``centred_gram`` over all columns, of which ``rows``, ``centre`` and ``extra`` may be a shard."""
    return across.sum(rows.shape[1], lambda s: centred_gram(rows[:, s], centre[s], *(row[s] for row in extra)))


def exact_gram(rows: torch.Tensor | Sequence[torch.Tensor], shift: torch.Tensor | None = None) -> torch.Tensor:
    """The Gram matrix of the ``rows`` plus ``shift`` [d], multiplied in float64 too, [n, n]: for angles, which centring
    would change.

    ``rows``: [n, d], or n ≥ 1 of them, [d] each, that need not lie in one matrix.
    Equal rows have cosine 1 to the last bits, however small the angle between the others.
    """
    n, device = len(rows), rows[0].device
    gram = torch.zeros(n, n, dtype=torch.float64, device=device)
    buffer: torch.Tensor | None = None
    for columns in column_blocks(rows[0][None]):
        width = columns.stop - columns.start
        if buffer is None or buffer.shape[1] != width:  # one for all: fresh memory costs more than the product
            buffer = torch.empty(n, width, dtype=torch.float64, device=device)
        if isinstance(rows, torch.Tensor):
            buffer.copy_(rows[:, columns])
        else:
            for place, row in zip(buffer, rows, strict=True):
                place.copy_(row[columns])
        if shift is not None:
            buffer += shift[columns].to(buffer)
        add_products(gram, buffer)
    return mirrored(gram)


def squared_distances(gram: torch.Tensor) -> torch.Tensor:
    """‖x_i - x_j‖² = G_ii + G_jj - 2 G_ij, [n, n], never below 0 and exactly 0 on the diagonal."""
    norms = gram.diagonal()
    return (norms[:, None] + norms[None, :] - 2 * gram).clamp_min_(0).fill_diagonal_(0)
