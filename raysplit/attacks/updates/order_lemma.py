"""What m equal malicious values do to the order statistics of a column, without sorting again.

Lemma. Let b_(1) ≤ … ≤ b_(n_b) be the benign values, b_(i) = -∞ for i ≤ 0 and +∞ for i > n_b, and c the sorted union
with m copies of v. Then c_(i) = clamp(v, b_(i-m), b_(i)). Proof. v ≥ b_(i): put ties benign-first; b_(1..i) fill the
places 1..i. v ≤ b_(i-m): put ties copies-first; the m copies come before b_(i-m), whose place is i. Else, with r = #{b
< v}, i-m ≤ r ≤ i-1 and the copies fill the places r+1..r+m, i among them. ∎

So one sort of the benign rows answers every question "what would the rule return if the clones sent v?", and since a
clamp is constant beyond its ends, so is the answer: pushed far enough down a rule that averages c_(first..last) returns
the mean of b_(first-m..last-m), pushed up that of b_(first..last), provided that these exist.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch

from raysplit.aggregation.across import ALL, Across
from raysplit.aggregation.order_statistics import (
    add_rows,
    ascending_blocks,
    column_blocks,
    extremes,
    ranks_of,
    sum_of_ranks,
)


@runtime_checkable
class RankRule(Protocol):
    """An aggregation rule that averages the order statistics c_(first..last) of every coordinate."""

    def ranks(self, n: int, trim: int | None) -> tuple[int, int]: ...


def clamped_mean(ordered: torch.Tensor, value: torch.Tensor, m: int, first: int, last: int) -> torch.Tensor:
    """1/(last - first + 1) · Σ_{i=first..last} clamp(value, b_(i-m), b_(i)), [w].

    ``ordered``: benign values, ascending in each column, [n_b, w]; ``value``: what each of the ``m`` clones sends, [w],
    may be infinite. Equals the rule on the whole stack up to rounding.
    """
    n_b, count = ordered.shape[0], last - first + 1
    if first > m:
        clamped = torch.maximum(value, ordered[first - m - 1 : last - m])  # [count, w], row r for rank first + r
    else:
        clamped = value.repeat(count, 1)
        if last > m:  # only these ranks have a lower bound
            bounded = clamped[m + 1 - first :]
            torch.maximum(bounded, ordered[: last - m], out=bounded)
    if first <= n_b:
        bounded = clamped[: min(last, n_b) - first + 1]
        torch.minimum(bounded, ordered[first - 1 : last], out=bounded)
    return add_rows(clamped).div_(count)


@dataclass(frozen=True)
class Survey:
    """``beyond``: what a clone must reach in each coordinate, [d]; ``plateau``: L(∞); ``bound``: no γ ≥ 0 has a larger
    L."""

    beyond: torch.Tensor
    plateau: float = math.nan
    bound: float = math.nan


@dataclass(frozen=True)
class RankGame:
    """``m`` clones of v against the ``benign`` rows B, [n_b, d], under a rule that averages c_(first..last).

    The adversary's gain is L(v) = ‖AGR({v}^m ∪ B) - μ‖₂ for a reference μ, [d]; norms are over all columns, of which
    ``benign`` may be a shard.
    """

    benign: torch.Tensor
    m: int
    first: int
    last: int
    across: Across = ALL

    def bounded(self, down: bool, up: bool) -> bool:
        """Whether the clones can move the rule only so far downwards, and upwards, where these are wanted."""
        return (not down or self.first - self.m >= 1) and (not up or self.last <= self.benign.shape[0])

    def moved_to(self, value: torch.Tensor) -> torch.Tensor:
        """What the rule returns where the clones send ``value``, [d]; may be infinite."""
        moved = torch.empty_like(value)
        for columns, values in ascending_blocks(self.benign):
            ordered = ranks_of(values, 1, values.shape[1])
            moved[columns] = clamped_mean(ordered, value[columns], self.m, self.first, self.last)
        return moved

    def objective(self, mean: torch.Tensor, value: torch.Tensor) -> float:
        """L(value) for the reference ``mean``; ``value``: [d]."""
        return math.sqrt(self.across.square(self.moved_to(value).sub_(mean)))

    def survey(self, mean: torch.Tensor, p: torch.Tensor) -> Survey:
        """What clones at ``mean`` + γ·``p`` can gain over all γ ≥ 0, from one sort; only where ``bounded``.

        The bound is (Σ_j max(D_j(0)², D_j(∞)²))^½ with D = AGR - mean: a mean of clamps is monotone in γ, so |D_j| is
        largest at an end.
        """
        down, up = p < 0, p > 0
        at_zero = torch.empty_like(p)
        # Far down the rule averages b_(first-m..last-m), far up b_(first..last).
        pushes = [
            (pushed, shift, edge, torch.empty_like(p), torch.empty_like(p))
            for pushed, shift, edge in ((down, self.m, self.first - self.m), (up, 0, self.last))
            if pushed.any()
        ]
        for columns, values in ascending_blocks(self.benign):
            at_zero[columns] = self._moved_to(values, mean[columns])
            for _, shift, edge, far, reach in pushes:
                far[columns] = sum_of_ranks(values, self.first - shift, self.last - shift)
                reach[columns] = values[:, edge - 1]
        at_infinity, beyond = at_zero, mean  # where p = 0 the clones stay at μ
        for pushed, _, _, far, reach in pushes:
            at_infinity = torch.where(pushed, far.div_(self.last - self.first + 1), at_infinity)
            beyond = torch.where(pushed, reach, beyond)
        reached = (at_infinity - mean).abs_()
        at_most = at_zero.sub_(mean).abs_().maximum(reached)
        plateau, bound = (math.sqrt(self.across.square(end)) for end in (reached, at_most))
        return Survey(beyond, plateau, bound)

    def _moved_to(self, values: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """What the rule returns where the clones send ``value``, [w], among benign ``values``, [w, n_b], that are
        ascending.

        Where b_(first-1) ≤ v ≤ b_(last-m+1) all clones are kept: the sum is that of b_(first) … b_(last-m) and m v.
        """
        first, last, m, n_b = self.first, self.last, self.m, values.shape[1]
        if not 1 <= first <= last - m <= n_b:
            return clamped_mean(ranks_of(values, 1, n_b), value, m, first, last)
        moved = sum_of_ranks(values, first, last - m).add_(value, alpha=m).div_(last - first + 1)
        inside = torch.ones_like(value, dtype=torch.bool)
        if first > 1:
            inside &= values[:, first - 2] <= value
        if last - m < n_b:
            inside &= value <= values[:, last - m]
        if not bool(inside.all()):
            others = (~inside).nonzero().flatten()
            moved[others] = clamped_mean(ranks_of(values[others], 1, n_b), value[others], m, first, last)
        return moved

    def outermost(self, p: torch.Tensor) -> torch.Tensor:
        """The smallest benign value where ``p`` pushes down, the largest elsewhere, [d]: beyond these all is
        plateau."""
        low, high = extremes(self.benign)
        return torch.where(p < 0, low, high)


@dataclass(frozen=True)
class Line:
    """The clones at ``mean`` + γ·``p``, for many γ: a column in which they have come ``beyond`` its last benign value
    that matters is done.

    There the rule has come to ``far`` and stays; only what is left is sorted again for a γ. So a search keeps no copy
    of the rows.
    """

    game: RankGame
    mean: torch.Tensor
    p: torch.Tensor
    beyond: torch.Tensor
    far: torch.Tensor

    @staticmethod
    def of(game: RankGame, mean: torch.Tensor, p: torch.Tensor) -> Line:
        """Where the game is not ``bounded``, ``beyond`` is infinite."""
        down = p < 0
        beyond, far = torch.empty_like(p), torch.empty_like(p)
        end = torch.where(p == 0, mean, p * math.inf)
        for columns, values in ascending_blocks(game.benign):
            n_b = values.shape[1]
            below = values[:, game.first - game.m - 1] if game.first > game.m else torch.tensor(-math.inf)
            above = values[:, game.last - 1] if game.last <= n_b else torch.tensor(math.inf)
            beyond[columns] = torch.where(down[columns], below, above)
            far[columns] = clamped_mean(ranks_of(values, 1, n_b), end[columns], game.m, game.first, game.last)
        return Line(game, mean, p, beyond, far)

    def objective(self, gamma: float) -> float:
        """L(μ + γp)."""
        value, moved = self.mean + gamma * self.p, self.far.clone()
        left = torch.where(self.p < 0, value > self.beyond, value < self.beyond) & (self.p != 0)
        for columns in column_blocks(value[None]):
            here = left[columns].nonzero().flatten()
            if len(here):
                rest = replace(self.game, benign=self.game.benign[:, columns].index_select(1, here))
                moved[columns][here] = rest.moved_to(value[columns][here])
        return math.sqrt(self.game.across.square(moved.sub_(self.mean)))
