"""Masks that cancel (Bonawitz et al. 2017, CCS, section 4): numbers of a finite ring, a mask for every pair of clients and
one for every client, and how the sum is opened where some have dropped out.

All is whole-number arithmetic mod 2^b, so that what cancels does so exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from raysplit import rng


class Ring(NamedTuple):
    """Whole numbers mod 2^``bits``, b at most 62, which stand for multiples of 2^−``fraction_bits``."""

    bits: int
    fraction_bits: int

    def largest(self, clients: int) -> int:
        """The largest magnitude of a number of which ``clients`` can be added up without one wrapping round."""
        return (2 ** (self.bits - 1) - 1) // clients

    def encode(self, values: torch.Tensor, clients: int) -> tuple[torch.Tensor, int]:
        """Numbers → the ring, rounded to the nearest multiple and cut off at ``largest``; no number as 0. And how many
        were cut off or none."""
        scaled = (values.double() * 2**self.fraction_bits).round_()
        limit = float(self.largest(clients))
        beyond = int((~(scaled.abs() <= limit)).sum())
        whole = scaled.nan_to_num_(nan=0.0, posinf=limit, neginf=-limit).clamp_(-limit, limit).to(torch.int64)
        return self.wrapped(whole), beyond

    def wrapped(self, whole: torch.Tensor) -> torch.Tensor:
        return whole & (2**self.bits - 1)

    def signed(self, ring: torch.Tensor) -> torch.Tensor:
        """In [−2^(b−1), 2^(b−1)), int64."""
        half = 2 ** (self.bits - 1)
        return torch.where(ring >= half, ring - 2 * half, ring)

    def decode(self, ring: torch.Tensor) -> torch.Tensor:
        """The numbers that they stand for, float64."""
        return self.signed(ring).double() / 2**self.fraction_bits


class Secrets(NamedTuple):
    """Seeds of a round, as named streams of ``base``. In the real protocol each pair agrees on one by Diffie-Hellman, and
    no server has them before it must."""

    base: int
    round: int
    ring: Ring

    def of_pair(self, one: int, other: int, size: int) -> torch.Tensor:
        """The mask of a pair of clients, [size]: the lower id adds it, the higher takes it off."""
        low, high = sorted((one, other))
        return self._drawn(size, "secure_aggregation_pair", low, high)

    def of_client(self, client: int, size: int) -> torch.Tensor:
        """A client's own mask, which hides its update even where the pairs' seeds become known, [size]."""
        return self._drawn(size, "secure_aggregation_self", client)

    def _drawn(self, size: int, purpose: str, *whose: int) -> torch.Tensor:
        stream = rng.stream(self.base, purpose, self.round, *whose)
        return torch.from_numpy(stream.integers(0, 2**self.ring.bits, size=size, dtype=np.int64))


def mask(rows: torch.Tensor, reporting: Sequence[int], lost: Sequence[int], secrets: Secrets) -> torch.Tensor:
    """What the fed server receives of the clients ``reporting``, whose ring ``rows`` [n, d] are: y_k = x_k + PRG(b_k) +
    Σ_{j>k} PRG(s_kj) − Σ_{j<k} PRG(s_jk), over all who took part, those who are ``lost`` too."""
    masked, size = rows.clone(), rows.shape[1]  # int64 itself wraps at 2^64, of which 2^b is a divisor
    for row, client in enumerate(reporting):
        masked[row] += secrets.of_client(client, size)
        for other_row, other in enumerate(reporting[row + 1 :], row + 1):
            drawn = secrets.of_pair(client, other, size)
            masked[row] += drawn if client < other else -drawn
            masked[other_row] -= drawn if client < other else -drawn
        for gone in lost:
            drawn = secrets.of_pair(client, gone, size)
            masked[row] += drawn if client < gone else -drawn
    return secrets.ring.wrapped(masked)


def open_sum(masked: torch.Tensor, reporting: Sequence[int], lost: Sequence[int], secrets: Secrets) -> torch.Tensor:
    """Σ x_k of those who reported, in the ring [d]: their own masks off, by their seeds b_k, and the masks of pairs with
    those who are lost, by the seeds of these, which the others have shares of."""
    size = masked.shape[1]
    total = masked.sum(0)
    for client in reporting:
        total -= secrets.of_client(client, size)
        for gone in lost:
            drawn = secrets.of_pair(client, gone, size)
            total -= drawn if client < gone else -drawn
    return secrets.ring.wrapped(total)
