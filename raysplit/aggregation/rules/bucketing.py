"""Bucketing (Karimireddy et al. 2022, Byzantine-robust learning on heterogeneous datasets via bucketing, algorithm
1)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.rule import RoundContext
from raysplit.aggregation.rules.composed import LinearPreAggregation, Mixing
from raysplit.parts.part import part, within


@part
class Bucketing(LinearPreAggregation):
    """y_b = 1/|B_b| · Σ_{i in B_b} u_i, where the buckets B_b cut a random order of the n updates into runs of ``size``
    s.

    The last of the ⌈n/s⌉ buckets may be smaller. A bucket's weight is the sum of its members', so that with equal
    weights a mean of buckets is the mean. The order is drawn from the round's generator. The rule that follows gets
    as many malicious rows as there were malicious clients (each spoils at most one bucket), but no more than there are
    buckets: their share grows up to s-fold. It sees the bucket numbers -1, -2 … in place of client ids.

    Records ``buckets``. With s = 1 nothing but the order changes.

    >>> import torch
    >>> from raysplit import Bucketing
    >>> updates = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [2.0, 2.0], [50.0, -50.0]])
    >>> Bucketing(size=2)(updates).shape
    torch.Size([3, 2])
    """

    size: int = 2

    def __post_init__(self) -> None:
        within("Bucketing.size", self.size, 1)

    def least_updates(self, rows: int) -> int:
        return self.size * (rows - 1) + 1

    def mixing(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Mixing:
        n, _ = geometry.shape
        order = context.rng.permutation(n)
        buckets = [np.sort(order[start : start + self.size]) for start in range(0, n, self.size)]
        count = len(buckets)
        members = torch.zeros(count, n, dtype=torch.bool)
        for b, rows in enumerate(buckets):
            members[b, torch.from_numpy(rows)] = True
        bucket_context = replace(
            context,
            clients=-1 - np.arange(count),
            assumed=min(context.assumed, count),
            actual=min(context.actual, count),
        )
        bucket_weights = (members.double() @ weights.cpu().double()).to(weights)
        matrix = members.double() / members.sum(1, keepdim=True)
        return Mixing(matrix, bucket_weights, bucket_context, members, {"buckets": float(count)})
