"""What m equal malicious values do to the order statistics of a column, without sorting again.

Lemma. Let b_(1) ≤ … ≤ b_(n_b) be the benign values, b_(i) = -∞ for i ≤ 0 and +∞ for i > n_b, and c the sorted union with m
copies of v. Then c_(i) = clamp(v, b_(i-m), b_(i)).
Proof. v ≥ b_(i): put ties benign-first; b_(1..i) fill the places 1..i. v ≤ b_(i-m): put ties copies-first; the m copies come
before b_(i-m), whose place is i. Else, with r = #{b < v}, i-m ≤ r ≤ i-1 and the copies fill the places r+1..r+m, i among them. ∎

So one sort of the benign rows answers every question "what would the rule return if the clones sent v?", and since a
clamp is constant beyond its ends, so is the answer: pushed far enough down a rule that averages c_(first..last) returns the
mean of b_(first-m..last-m), pushed up that of b_(first..last), provided that these exist.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch

from raysplit.defenses.aggregation.order_statistics import column_blocks, sort_columns


@runtime_checkable
class RankRule(Protocol):
    """An aggregation rule that averages the order statistics c_(first..last) of every coordinate."""

    def ranks(self, n: int, trim: int | None) -> tuple[int, int]: ...


def clamped_mean(ordered: torch.Tensor, value: torch.Tensor, m: int, first: int, last: int) -> torch.Tensor:
    """1/(last - first + 1) · Σ_{i=first..last} clamp(value, b_(i-m), b_(i)), [w].

    ``ordered``: benign values, ascending in each column, [n_b, w]; ``value``: what each of the ``m`` clones sends, [w],
    may be infinite. Equals the rule on the whole stack up to rounding.
    """
    n_b = ordered.shape[0]
    rows = ordered.unbind(0)
    total, term = torch.zeros_like(value), torch.empty_like(value)
    for i in range(first, last + 1):
        term.copy_(value)
        if i - m >= 1:
            torch.maximum(term, rows[i - m - 1], out=term)
        if i <= n_b:
            torch.minimum(term, rows[i - 1], out=term)
        total.add_(term)
    return total.div_(last - first + 1)


def bounded(m: int, n_b: int, first: int, last: int, down: bool, up: bool) -> bool:
    """Whether ``m`` clones can move the rule only so far: downwards (``down``) and upwards (``up``)."""
    return (not down or first - m >= 1) and (not up or last <= n_b)


class OrderedBenign:
    """The benign rows, sorted once: the loss L(v) = ‖AGR({v}^m ∪ B) - reference‖₂ for any v, without another sort.

    Keeps one sorted copy of the benign rows, [n_b, d].
    """

    def __init__(self, benign: torch.Tensor, m: int, first: int, last: int) -> None:
        self.blocks = [(columns, sort_columns(benign[:, columns])) for columns in column_blocks(benign)]
        self.m, self.first, self.last = m, first, last

    def loss(self, value: torch.Tensor, reference: torch.Tensor) -> float:
        """L(value); ``value`` and ``reference``: [d]."""
        squares = 0.0
        for columns, ordered in self.blocks:
            moved = clamped_mean(ordered, value[columns], self.m, self.first, self.last)
            squares += float((moved - reference[columns]).double().square().sum())
        return math.sqrt(squares)
