"""How far crafted updates may deviate along one direction and still be selected by Krum (Fang et al., USENIX Security
2020, section 3.2).

The crafted updates are v_i = -λ·s + e_i, with s_j = ±1 and small offsets e_i, the first of them 0. With the inner
products of s, e_i and the honest rows, all distances follow for every λ, so one Gram matrix answers for all halvings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from raysplit.aggregation.across import Across
from raysplit.aggregation.gram import squared_distances
from raysplit.aggregation.order_statistics import column_blocks
from raysplit.aggregation.rules.krum import Krum, neighbour_count


@dataclass(frozen=True)
class DirectedDeviation:
    """``k`` crafted updates beside n_h honest ones, under a Krum that reckons with ``f`` malicious ones.

    ``honest``: Gram matrix of the honest rows less a centre, [n_h, n_h]; ``mixed``: their products with the centre, s
    and the offsets, [n_h, 2 + m], or [n_h, 2] where the crafted updates are all the same; ``crafted``: the products of
    those with one another. All in float64 on the CPU. Distances are squared, as Krum's are.
    """

    krum: Krum
    k: int
    f: int
    honest: torch.Tensor
    mixed: torch.Tensor
    crafted: torch.Tensor

    @property
    def neighbours(self) -> int:
        return neighbour_count(self.k + len(self.honest), self.f, self.krum.neighbours)

    def bound(self) -> float:
        """Where the search for λ begins: Theorem 1,

        λ ≤ (min_i Σ_l ‖w_l - w_i‖ / (m - 2c - 1) + max_i ‖w_i‖) / √d,

        the sum over the m - c - 2 honest rows nearest to the honest row i. m - 2c - 1 is how many honest neighbours a
        crafted update needs beside the other ones; where it needs none, any λ is selected and only the second term
        stands. The theorem is for Krum on plain distances; on squared ones it is no bound.
        """
        distances = squared_distances(self.honest).sqrt().fill_diagonal_(torch.inf).sort(dim=1).values
        nearest = distances[:, : min(self.neighbours, len(distances) - 1)].sum(1).min()
        needed = self.neighbours - (self.k - 1)
        lengths = self.honest.diagonal() + 2 * self.mixed[:, 0] + self.crafted[0, 0]
        first = float(nearest) / needed if needed > 0 else 0.0
        return (first + float(lengths.max().clamp_min(0).sqrt())) / math.sqrt(float(self.crafted[1, 1]))

    def distances(self, strength: float) -> torch.Tensor:
        """All squared distances at λ = ``strength``, [k + n_h, k + n_h], the crafted updates first."""
        offsets = self.crafted.shape[0] - 2
        factors = torch.cat(
            [
                torch.tensor([[-1.0, -strength]], dtype=torch.float64).expand(self.k, 2),
                torch.eye(self.k, offsets, dtype=torch.float64),
            ],
            dim=1,
        )
        own = (factors @ self.crafted * factors).sum(1)
        out = own[:, None] + self.honest.diagonal()[None] - 2 * factors @ self.mixed.T
        among = (
            squared_distances(self.crafted[2 : 2 + self.k, 2 : 2 + self.k])
            if offsets
            else out.new_zeros(self.k, self.k)
        )
        whole = torch.cat(
            [torch.cat([among, out], 1), torch.cat([out.T, squared_distances(self.honest)], 1)]
        ).clamp_min_(0)
        return whole.masked_fill_(~whole.isfinite(), torch.inf)

    def selected(self, strength: float) -> bool:
        """Whether Krum selects a crafted update."""
        return bool(self.krum.selection(self.distances(strength), self.f)[: self.k].any())

    def search(self, threshold: float) -> tuple[float, int]:
        """λ, the first of bound, bound/2, bound/4, … that is selected, and how many were tried; 0 where none down to
        ``threshold`` is."""
        strength, probes = self.bound(), 0
        while strength >= threshold:
            probes += 1
            if self.selected(strength):
                return strength, probes
            strength /= 2
        return 0.0, probes


def products(
    across: Across, rows: torch.Tensor, centre: torch.Tensor, others: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """⟨row - centre, other⟩, [n, e], and ⟨other, other⟩, [e, e], in float64 on the CPU, over all columns.

    ``rows``: [n, d]; ``centre`` and each of the e ``others``: [d]; of all columns those that are here.
    """

    def of(stripe: slice) -> torch.Tensor:
        part = rows[:, stripe]
        total = torch.zeros(len(rows) + len(others), len(others), dtype=torch.float64, device=rows.device)
        for columns in column_blocks(part):
            here = torch.stack([other[stripe][columns] for other in others])
            below = part[:, columns] - centre[stripe][columns]
            total += (torch.cat([below, here]) @ here.T).double()
        return total

    total = across.sum(rows.shape[1], of).cpu()
    return total[: len(rows)], total[len(rows) :]
