"""How far clones may stray and still be selected by a rule that goes by distances: Krum, Multi-Krum, Bulyan (NDSS 2021,
section IV).

With a = ‖p‖², q_i = ⟨p, μ - b_i⟩ and c_i = ‖μ - b_i‖², a clone v = μ + γ·p lies ‖v - b_i‖² = aγ² + 2q_iγ + c_i from
benign row i, 0 from another clone, and benign rows keep their distances. So one Gram matrix answers for every γ, at n²
log n a probe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from raysplit.aggregation.across import ALL, Across
from raysplit.aggregation.gram import gram_over, squared_distances
from raysplit.aggregation.rule import MaliciousCount
from raysplit.attacks.updates.gamma_search import selection_search


@runtime_checkable
class SelectingRule(Protocol):
    """An aggregation rule that selects rows by their squared distances alone, reckoning with f malicious ones."""

    @property
    def f(self) -> MaliciousCount: ...

    def selection(self, distances: torch.Tensor, f: int) -> torch.Tensor: ...


@dataclass(frozen=True)
class SelectionGame:
    """``m`` clones of μ + γ·p against benign rows, under a rule that assumes ``f`` malicious ones.

    ``gram``: float64 [n_b + 1, n_b + 1], of the benign rows less μ, and of p below them.
    """

    rule: SelectingRule
    m: int
    f: int
    gram: torch.Tensor

    @staticmethod
    def of(
        rule: SelectingRule,
        benign: torch.Tensor,
        mean: torch.Tensor,
        p: torch.Tensor,
        m: int,
        f: int,
        across: Across = ALL,
    ) -> SelectionGame:
        """``benign``: [n_b, d]; ``mean`` μ and ``p``: [d]; ``across``: which of all columns these are."""
        return SelectionGame(rule, m, f, gram_over(across, benign, mean, p).cpu())

    def distances(self, gamma: float) -> torch.Tensor:
        """All squared distances, [m + n_b, m + n_b], the clones first."""
        benign = squared_distances(self.gram[:-1, :-1])
        a, q, c = self.gram[-1, -1], -self.gram[:-1, -1], self.gram.diagonal()[:-1]
        out = (a * gamma**2 + 2 * gamma * q + c).clamp_min(0).expand(self.m, -1)
        return torch.cat([torch.cat([out.new_zeros(self.m, self.m), out], 1), torch.cat([out.T, benign], 1)])

    def fooled(self, gamma: float) -> bool:
        """Whether every clone is selected, or every selected row is a clone where fewer than m are selected."""
        selected = self.rule.selection(self.distances(gamma), self.f)
        return int(selected[: self.m].sum()) == min(self.m, int(selected.sum()))

    def largest(self, top: float, tolerance: float = 1e-6) -> tuple[float, int]:
        """The largest γ ≤ ``top`` that fools the rule, to a relative ``tolerance``, and the probes that it took; 0
        where none does.

        Doubles γ from where a clone is as far from μ as the farthest benign row until the rule is not fooled, then
        bisects. Should success not be monotone in γ, the answer is the end of one interval of success.
        """
        a = float(self.gram[-1, -1])
        if a == 0:
            return 0.0, 0
        low, high, probes = 0.0, min(top, (float(self.gram.diagonal()[:-1].max()) / a) ** 0.5), 1
        if high == 0:
            high = top
        while self.fooled(high):
            if high >= top:
                return high, probes
            low, high, probes = high, min(top, 2 * high), probes + 1
        while high - low > tolerance * high and high > 1e-12 * top:
            middle, probes = (low + high) / 2, probes + 1
            low, high = (middle, high) if self.fooled(middle) else (low, middle)
        return low, probes

    def published(self, start: float) -> tuple[float, int]:
        """γ by the published walk from ``start``, and its probes."""
        return selection_search(self.fooled, start)
