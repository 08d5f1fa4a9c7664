"""Lengths, distances and Gram matrices of whole rows, for the rules that go by these: each a sum over columns that is
taken once.

A row counts as *lost* where its squared norm is no finite number (NaN, infinity, or float32 overflow, near 1e19): it is
infinitely far from every other row, and it enters no sum unless a rule must select it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import torch

from raysplit.aggregation.columns import Columns, Whole
from raysplit.aggregation.gram import centred_gram, products_with, squared_distances
from raysplit.aggregation.order_statistics import column_blocks, mean_of_ranks

SAMPLE = 9
"""From how many rows the point is taken from which the others are measured."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """Lazy and shared: rules that are given the same geometry share what any of them has computed. Nobody may write
    into an answer.

    All answers but ``median`` and ``centre``, [d], are float64 on the CPU, n or n x n numbers.
    """

    columns: Columns

    @staticmethod
    def of(updates: torch.Tensor) -> Geometry:
        """Of a matrix in this process, [n, d]."""
        return Geometry(Whole(updates))

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""
        return self.columns.shape

    @cached_property
    def norms(self) -> torch.Tensor:
        """‖u_i‖, [n]; NaN or infinite where the row is not finite, but not for float32 overflow."""
        return self.columns.total(squared_norms).sqrt()

    @cached_property
    def median(self) -> torch.Tensor:
        """The lower coordinate-wise median, [d]: unlike the mean, no minority drags it so far off that distances round
        to 0."""
        return self.columns.map(robust_centre)

    @property
    def centre(self) -> torch.Tensor:
        """The point amid the rows, [d], from which ``gram`` is measured."""
        return self._centred[0]

    @property
    def gram(self) -> torch.Tensor:
        """⟨u_i - c, u_j - c⟩ with c the ``centre``, [n, n]."""
        return self._centred[1]

    @cached_property
    def distances(self) -> torch.Tensor:
        """‖u_i - u_j‖², [n, n], symmetric, 0 on the diagonal; infinite to and from lost rows."""
        distances = squared_distances(self.gram)
        distances = (distances + distances.T).div_(2)
        return distances.masked_fill_(~distances.isfinite(), torch.inf)

    def gram_with(self, point: torch.Tensor) -> torch.Tensor:
        """``gram`` with the row of a ``point``, [d], less the centre below it, [n + 1, n + 1].

        One product makes both where ``gram`` has not been computed before; its last bits may differ from those of two.
        """
        n = self.shape[0]
        if "_centred" not in vars(self):
            centre, bordered = self._measured(point)
            vars(self)["_centred"] = centre, bordered[:n, :n]  # what the cached property would have found
            return bordered
        bordered = torch.zeros(n + 1, n + 1, dtype=torch.float64)
        bordered[:n, :n] = self.gram
        if point is not self.centre:
            products = self.columns.total(products_with, self.centre, point)
            bordered[n], bordered[:n, n] = products, products[:n]
        return bordered

    @cached_property
    def gram_with_median(self) -> torch.Tensor:
        """The same with the ``median``."""
        return self.gram_with(self.median)

    @cached_property
    def _centred(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self._measured()

    def _measured(self, *point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A centre and the Gram matrix from there, with at most one ``point`` below the rows.

        The centre is the ``ninther`` of nine rows, as a sort of all rows is more work than the product. Where it turns
        out to lie far from most rows, so that rounding would show, it is the median of all.
        """
        n = self.shape[0]
        if n >= 2 * SAMPLE:
            centre = self.columns.map(partial(ninther, step=n // SAMPLE))
            gram = self.columns.total(_gram_from, centre, *point)
            distances = squared_distances(gram[:n, :n])
            between = distances[torch.triu(torch.ones_like(distances), 1) > 0]
            if lower_median(gram.diagonal()[:n]) <= lower_median(between):  # false where either is no number
                return centre, gram
        return self.median, self.columns.total(_gram_from, self.median, *point)


def _gram_from(rows: torch.Tensor, centre: torch.Tensor, *points: torch.Tensor) -> torch.Tensor:
    return centred_gram(rows, centre, *(point.to(rows) - centre.to(rows) for point in points))


def robust_centre(updates: torch.Tensor) -> torch.Tensor:
    """The lower coordinate-wise median, [d]."""
    middle = (updates.shape[0] + 1) // 2
    return mean_of_ranks(updates, middle, middle)


def ninther(updates: torch.Tensor, step: int) -> torch.Tensor:
    """The median of three medians of three (Tukey 1978) of every ``step``-th row, nine in all, [d]; a NaN is passed
    over where it can be."""
    result = updates.new_empty(updates.shape[1])
    rows = updates[: SAMPLE * step : step]
    for columns in column_blocks(updates):
        thirds = [_middle(*rows[first : first + 3, columns]) for first in (0, 3, 6)]
        result[columns] = _middle(*thirds)
    return result


def _middle(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    return torch.fmax(torch.fmin(a, b), torch.fmin(torch.fmax(a, b), c))


def squared_norms(updates: torch.Tensor) -> torch.Tensor:
    """‖u_i‖², float64 [n], to a relative 1e-6: a block of columns is measured in the rows' own precision, its square
    added in float64."""
    squares = torch.zeros(updates.shape[0], dtype=torch.float64, device=updates.device)
    for columns in column_blocks(updates):
        lengths = torch.linalg.vector_norm(updates[:, columns], dim=1)
        # In float32 squares overflow from 1e19 on and vanish below 1e-19.
        if not bool(((lengths > 1e-15) & lengths.isfinite()).all()):
            lengths = torch.linalg.vector_norm(updates[:, columns], dim=1, dtype=torch.float64)
        squares += lengths.double().square_()
    return squares


def row_norms(updates: torch.Tensor) -> torch.Tensor:
    """‖u_i‖ in float64, [n], on the CPU."""
    return Geometry.of(updates).norms


def row_distances(updates: torch.Tensor) -> torch.Tensor:
    """‖u_i - u_j‖², float64 [n, n] on the CPU: ``Geometry.distances``."""
    return Geometry.of(updates).distances


def without_lost(gram: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The Gram matrix with zeros in the lost rows and columns, and which rows are present, bool [n]."""
    present = gram.diagonal().isfinite()
    return gram.masked_fill(~(present[:, None] & present[None, :]), 0), present


def distances_to(gram: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """‖y_i - Σ_j factors_j y_j‖, [n], from the Gram matrix of the rows y."""
    products = gram @ factors
    return (gram.diagonal() - 2 * products + factors @ products).clamp_min_(0).sqrt_()


def lower_median(values: torch.Tensor) -> float:
    """The middle one of ascending ``values``, [n]; the lower of two."""
    return float(values.sort().values[(values.shape[0] - 1) // 2])


def finite_or_infinite(norms: torch.Tensor) -> torch.Tensor:
    """The ``norms``, [n], with infinity in place of NaN: a row that is not finite is infinitely long."""
    return norms.masked_fill(~norms.isfinite(), torch.inf)
