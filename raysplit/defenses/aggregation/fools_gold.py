"""FoolsGold: clients that always pull the same way are taken for one (Fung, Yoon & Beschastnikh, RAID 2020, algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from raysplit.defenses.aggregation.aggregation import Aggregate, RoundContext
from raysplit.defenses.aggregation.geometry import combine, row_norms
from raysplit.defenses.aggregation.gram import exact_gram
from raysplit.errors import ScenarioError
from raysplit.parts import part


@part
class FoolsGold:
    """AGR(U) = Σ_i α_i u_i / Σ_i α_i, where α_i is small for clients whose summed updates H_i point the way of another's.

    H_i = the sum of all updates of client i so far, this one included; c_ij = cos(H_i, H_j); v_i = max_{j≠i} c_ij. Pardoning: where
    v_j > v_i, c_ij ← c_ij v_i/v_j. α_i = 1 - max_{j≠i} c_ij, cut to [0, 1] and divided by the largest; then α_i ←
    κ ln(α_i/(1 - α_i)) + ½, cut to [0, 1], where ``confidence`` κ is 1. Honest clients must differ from each other more than sybils do, so
    updates that are all alike are all rejected, and the result is zero. A row of zeros or that is not finite gets α = 0 and leaves H as it is.

    The memory holds H by client id, d floats for every client ever drawn: with cohorts drawn from many, most H are a single update.
    Of the pseudo-code only the weighting of columns by importance is left out; there the aggregate is Σ α_i u_i, here a mean.
    Written from the algorithm as its implementations agree on it; the paper was not at hand. It reckons with no number of malicious
    clients. The sample weights play no part.

    Records ``weight``, the mean α; and ``broken``: 1 where exactly one client lied, whom it cannot tell from an honest one. Raises
    ScenarioError after ``Bucketing``, where a row is no client's.
    """

    confidence: float = 1.0

    def __post_init__(self) -> None:
        if not self.confidence > 0:
            raise ScenarioError(f"FoolsGold.confidence must be above 0, but it is {self.confidence}")

    @property
    def columnwise(self) -> bool:
        return False

    def aggregate(self, updates: torch.Tensor, weights: torch.Tensor, context: RoundContext) -> Aggregate:
        if (context.clients < 0).any():
            raise ScenarioError("FoolsGold goes by clients' histories, but after Bucketing no row is a client's")
        norms = row_norms(updates)
        present = norms.isfinite() & (norms > 0)
        histories = []
        memory = dict(context.memory)
        for client, update, there in zip(context.clients.tolist(), updates, present.tolist(), strict=True):
            before = memory.get(str(client))
            if there:
                memory[str(client)] = history = update.clone() if before is None else before.to(update) + update
                histories.append(history)
        alpha = torch.zeros(len(updates), dtype=torch.float64)
        alpha[present] = self.learning_rates(histories)
        record = {"weight": float(alpha.mean()), "broken": float(context.realised == 1)}
        update = combine(updates, alpha / alpha.sum().clamp_min(1e-300))
        return Aggregate(update, record, alpha > 0, memory)

    def learning_rates(self, histories: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
        """α, float64 [n], from the summed updates H, [n, d] or n of them."""
        n = len(histories)
        if n < 2:
            return torch.ones(n, dtype=torch.float64)
        gram = exact_gram(histories).cpu()
        norms = gram.diagonal().sqrt().clamp_min(1e-300)
        cosine = gram / norms[:, None] / norms[None, :]
        nearest = cosine.clone().fill_diagonal_(-torch.inf).amax(1)
        # Only a client with a nearer twin than mine is to blame for what we share; negative cosines need no pardon.
        pardon = torch.where(
            (nearest[None, :] > nearest[:, None]) & (nearest[None, :] > 0), nearest[:, None] / nearest[None, :], 1.0
        )
        alpha = 1 - (cosine * pardon).fill_diagonal_(-torch.inf).amax(1)
        alpha = alpha.clamp(0, 1)
        # Rounding leaves 1 - cos of equal histories near 1e-16; dividing by the largest would turn that into full trust.
        if float(alpha.max()) < 1e-9:
            return torch.zeros(n, dtype=torch.float64)
        alpha = alpha / alpha.max()
        return (self.confidence * torch.logit(alpha) + 0.5).clamp(0, 1)
