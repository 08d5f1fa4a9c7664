"""FoolsGold: clients that always pull the same way are taken for one (Fung, Yoon & Beschastnikh, RAID 2020, algorithm
1)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch

from raysplit.aggregation.columns import combined
from raysplit.aggregation.geometry import Geometry
from raysplit.aggregation.gram import add_products, mirrored
from raysplit.aggregation.order_statistics import column_blocks
from raysplit.aggregation.rule import Aggregate, GeometryRule, RoundContext
from raysplit.errors import ScenarioError
from raysplit.parts.part import part


@part
class FoolsGold(GeometryRule):
    """AGR(U) = Σ_i α_i u_i / Σ_i α_i, where α_i is small for clients whose summed updates H_i point the way of
    another's.

    H_i = the sum of all updates of client i so far, this one included; c_ij = cos(H_i, H_j); v_i = max_{j≠i} c_ij.
    Pardoning: where v_j > v_i, c_ij ← c_ij v_i/v_j. α_i = 1 - max_{j≠i} c_ij, cut to [0, 1] and divided by the largest;
    then α_i ← κ ln(α_i/(1 - α_i)) + ½, cut to [0, 1], where ``confidence`` κ is 1. Honest clients must differ from each
    other more than sybils do, so updates that are all alike are all rejected, and the result is zero. A row of zeros or
    that is not finite gets α = 0 and leaves H as it is.

    The memory holds H by client id, d floats for every client ever sampled: with cohorts sampled from many, most H are
    a single update. Of the pseudo-code only the weighting of columns by importance is left out; there the aggregate is
    Σ α_i u_i, here a mean. Written from the algorithm as its implementations agree on it; the paper was not at hand. It
    asks for no number of malicious clients. The sample weights play no part.

    Records ``weight``, the mean α; and ``broken``: 1 where exactly one client was malicious, whom it cannot tell from
    an honest one. Raises ScenarioError after ``Bucketing``, where a row is no client's.

    >>> import torch
    >>> from raysplit import FoolsGold
    >>> updates = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [-1.0, -1.0]])
    >>> FoolsGold()(updates)
    tensor([0.5000, 0.5000])
    """

    confidence: float = 1.0
    remembers_clients: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.confidence > 0:
            raise ScenarioError(f"FoolsGold.confidence must be above 0, but it is {self.confidence}")

    def over(self, geometry: Geometry, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        if (context.clients < 0).any():
            raise ScenarioError("FoolsGold goes by clients' histories, but after Bucketing no row is a client's")
        norms = geometry.norms
        present = norms.isfinite() & (norms > 0)
        memory = dict(context.memory)
        places, clients = present.nonzero().flatten().tolist(), context.clients[present.numpy()].tolist()
        past = {
            place: memory[str(client)] for place, client in zip(places, clients, strict=True) if str(client) in memory
        }
        gram = geometry.columns.total(partial(gram_of_histories, places=places, remembered=tuple(past)), *past.values())
        for place, client in zip(places, clients, strict=True):
            before = (past[place],) if place in past else ()
            memory[str(client)] = geometry.columns.map(partial(one_history, place=place), *before)
        alpha = torch.zeros(len(norms), dtype=torch.float64)
        alpha[present] = self.learning_rates(gram)
        record = {"weight": float(alpha.mean()), "broken": float(context.actual == 1)}
        update = combined(geometry.columns, alpha / alpha.sum().clamp_min(1e-300))
        return Aggregate(update, record, alpha > 0, memory)

    def learning_rates(self, gram: torch.Tensor) -> torch.Tensor:
        """α, float64 [n], from the inner products ⟨H_i, H_j⟩ of the summed updates, [n, n]."""
        n = len(gram)
        if n < 2:
            return torch.ones(n, dtype=torch.float64)
        norms = gram.diagonal().sqrt().clamp_min(1e-300)
        cosine = gram / norms[:, None] / norms[None, :]
        nearest = cosine.clone().fill_diagonal_(-torch.inf).amax(1)
        # Only a client with a nearer twin than mine is to blame for what we share; negative cosines need no pardon.
        pardon = torch.where(
            (nearest[None, :] > nearest[:, None]) & (nearest[None, :] > 0), nearest[:, None] / nearest[None, :], 1.0
        )
        alpha = 1 - (cosine * pardon).fill_diagonal_(-torch.inf).amax(1)
        alpha = alpha.clamp(0, 1)
        # Rounding leaves 1 - cos of equal histories near 1e-16; dividing by the largest would turn that into full
        # trust.
        if float(alpha.max()) < 1e-9:
            return torch.zeros(n, dtype=torch.float64)
        alpha = alpha / alpha.max()
        return (self.confidence * torch.logit(alpha) + 0.5).clamp(0, 1)


def one_history(rows: torch.Tensor, *before: torch.Tensor, place: int) -> torch.Tensor:
    """The row at ``place``, added to what there was ``before``, [w]."""
    return before[0].to(rows) + rows[place] if before else rows[place].clone()


def gram_of_histories(
    rows: torch.Tensor, *past: torch.Tensor, places: Sequence[int], remembered: Sequence[int]
) -> torch.Tensor:
    """⟨H_i, H_j⟩ in float64, [p, p], of the rows at ``places``, each of them added to its ``past`` where that is
    ``remembered``.

    The histories are made a block of columns at a time.
    """
    gram = torch.zeros(len(places), len(places), dtype=torch.float64, device=rows.device)
    added = [places.index(place) for place in remembered]
    kept = torch.tensor(places, dtype=torch.int64, device=rows.device)
    buffer: torch.Tensor | None = None
    for columns in column_blocks(rows):
        block = rows[:, columns]
        if len(places) < len(rows):
            block = block.index_select(0, kept)
        elif past:
            block = block.clone()
        for place, before in zip(added, past, strict=True):
            block[place] += before[columns].to(rows)
        if buffer is None or buffer.shape != block.shape:  # one for all: fresh memory costs more than the product
            buffer = torch.empty(block.shape, dtype=torch.float64, device=rows.device)
        buffer.copy_(block)
        add_products(gram, buffer)
    return mirrored(gram)
