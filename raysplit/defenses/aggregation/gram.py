"""One n x n Gram matrix serves every rule and attack that goes by distances or angles between whole updates."""

from __future__ import annotations

import torch

from raysplit.defenses.aggregation.order_statistics import column_blocks


def centred_gram(rows: torch.Tensor, centre: torch.Tensor, *extra: torch.Tensor) -> torch.Tensor:
    """G = X Xᵀ in float64, [n + e, n + e], for X = the ``rows`` minus ``centre`` and below them the ``extra`` rows as they are.

    ``rows``: [n, d]; ``centre`` and each of the e ``extra``: [d]. A sum over blocks of columns, so column shards of it add up
    to the whole. Centring first keeps small distances between large updates exact.
    """
    n = rows.shape[0] + len(extra)
    gram = torch.zeros(n, n, dtype=torch.float64, device=rows.device)
    for columns in column_blocks(rows):
        block = torch.cat([rows[:, columns] - centre[columns], *(row[None, columns] for row in extra)])
        gram += (block @ block.T).double()
    return gram


def exact_gram(rows: torch.Tensor, shift: torch.Tensor | None = None) -> torch.Tensor:
    """The Gram matrix of the ``rows`` plus ``shift`` [d], multiplied in float64 too, [n, n]: for angles, which centring would change.

    Equal rows have cosine 1 to the last bits, however small the angle between the others.
    """
    n = rows.shape[0]
    gram = torch.zeros(n, n, dtype=torch.float64, device=rows.device)
    for columns in column_blocks(rows):
        block = rows[:, columns].double()
        if shift is not None:
            block = block + shift[columns].to(block)
        gram += block @ block.T
    return gram


def squared_distances(gram: torch.Tensor) -> torch.Tensor:
    """‖x_i - x_j‖² = G_ii + G_jj - 2 G_ij, [n, n], never below 0 and exactly 0 on the diagonal."""
    norms = gram.diagonal()
    return (norms[:, None] + norms[None, :] - 2 * gram).clamp_min_(0).fill_diagonal_(0)
