"""Secure aggregation: the fed server learns the sum of the updates and none of them (Bonawitz et al. 2017, CCS)."""

from __future__ import annotations

import copy
import math
from typing import Literal

import numpy as np
import torch

from raysplit.aggregation.masking import Ring, Secrets, mask, open_sum
from raysplit.aggregation.rule import Aggregate, AggregationRule, RoundContext
from raysplit.errors import ScenarioError
from raysplit.parts.part import part, within


@part
class SecureAggregation(AggregationRule):
    """AGR(U) = Σ_i c_i u_i / Σ_i c_i, opened from masked vectors alone.

    Each client multiplies its update by c_i, the number of its training samples (``weights="equal"``: 1), rounds to
    multiples of 2^−``fraction_bits``, and adds masks that are uniform in the whole numbers mod 2^``bits``; c_i itself
    travels as one number more. The sum is exact in that ring. A number beyond (2^(bits−1) − 1) / n of its unit, n clients
    taking part, is cut off there, so that no sum wraps round. Clients that are lost after training (``Dropouts(when=
    "after")``) leave masks behind, which the others' shares of their seeds take off. With fewer than ``threshold`` of
    those who took part nothing can be opened, and the portion stays as it is.

    Simulated are key agreement, encryption and the sharing of secrets: seeds are named streams, and who has enough shares
    is counted, not computed. Against a server that lies about who has dropped out there is nothing here.

    Records ``saturated``, how many numbers were cut off, and ``broken`` where nothing could be opened.

    >>> import torch
    >>> from raysplit import SecureAggregation
    >>> updates = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0], [50.0, -50.0]])
    >>> SecureAggregation()(updates)
    tensor([11.6000, -8.4000])
    """

    bits: int = 32
    fraction_bits: int = 16
    threshold: float = 2 / 3
    weights: Literal["samples", "equal"] = "samples"

    def __post_init__(self) -> None:
        within("SecureAggregation.bits", self.bits, 8, 62)
        within("SecureAggregation.fraction_bits", self.fraction_bits, 0, self.bits - 2)
        if not 0.5 < self.threshold <= 1:
            raise ScenarioError(
                "SecureAggregation.threshold must lie above one half, or a server could open a round twice, and be at most "
                f"1, but it is {self.threshold:g}"
            )

    @property
    def ring(self) -> Ring:
        return Ring(self.bits, self.fraction_bits)

    def needs_whole_updates(self) -> str | None:
        return "SecureAggregation masks whole updates before anybody receives them, and column shards would hold them plain"

    def aggregate(self, updates: torch.Tensor, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        masked, saturated = self._sent(updates, context)
        record = {"saturated": float(saturated)}
        clients, took_part = context.clients.tolist(), len(context.clients) + len(context.lost)
        if len(clients) < math.ceil(self.threshold * took_part):
            return Aggregate(torch.zeros_like(updates[0]), {**record, "broken": 1.0})
        opened = open_sum(masked, clients, context.lost.tolist(), self._secrets(context))
        count = int(opened[-1])
        return Aggregate((self.ring.decode(opened[:-1]) / count).to(updates), record)

    def received(self, updates: torch.Tensor, context: RoundContext) -> torch.Tensor:
        """What the fed server has of each client: masked numbers, read as if they were none, [n, d]."""
        masked, _ = self._sent(updates, context)
        return self.ring.decode(masked[:, :-1]).to(updates)

    def _sent(self, updates: torch.Tensor, context: RoundContext) -> tuple[torch.Tensor, int]:
        """The clients' side: the masked rows of the ring, [n, d + 1], and how many numbers were cut off."""
        took_part = len(context.clients) + len(context.lost)
        plain = context.counts is None or self.weights == "equal"
        counts = np.ones(len(updates), dtype=np.int64) if plain else context.counts
        assert counts is not None
        if int(counts.sum()) >= 2**self.bits:
            raise ScenarioError(
                f"SecureAggregation adds up {int(counts.sum())} samples, but a ring of {self.bits} bits ends at "
                f"{2**self.bits}; give more bits, or weights='equal'"
            )
        own = torch.from_numpy(counts)[:, None]
        encoded, beyond = self.ring.encode(updates.cpu() * own.to(updates), took_part)
        rows = torch.cat([encoded, self.ring.wrapped(own)], dim=1)
        return mask(rows, context.clients.tolist(), context.lost.tolist(), self._secrets(context)), beyond

    def _secrets(self, context: RoundContext) -> Secrets:
        base = int(copy.deepcopy(context.rng).integers(1 << 62))
        return Secrets(base, context.round, self.ring)
