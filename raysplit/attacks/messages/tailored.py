"""The optimisation-based poisoning of Khan et al. 2022 (equations 2-4) carried over from updates to smashed data."""

from __future__ import annotations

from typing import Literal

import torch

from raysplit.aggregation.gram import centred_gram, squared_distances
from raysplit.aggregation.order_statistics import mean_std
from raysplit.attacks.messages.message_attack import MessageAttack, MessageView, checked, client_threat
from raysplit.attacks.messages.shapes import with_tensor
from raysplit.attacks.updates.perturbation import Perturbation, perturb
from raysplit.channels.channel import Channel, ThreatModel
from raysplit.channels.message import Message
from raysplit.parts.part import part


@part
class SmashedTailored(MessageAttack):
    """All samples of a batch are replaced by v = μ + γ·p, under their true labels: μ mean and p spread of the client's
    own batch [B, q].

    p as in ``AgrTailored``: ``direction``·σ (``"std"``), sign(μ) or μ/‖μ‖. What is not carried over is the objective:
    no rule aggregates smashed data, so there is none to be tailored to, and damage grows with γ as it does under
    ``Mean``. γ is therefore a number, or ``"min_max"``: the largest γ for which v is no farther from any sample of the
    batch than two samples are from each other (``MinMax``'s closed form), so that no test of distances within the batch
    can tell. ``shift=True`` moves every sample by γ·p instead of making clones. Colluders' batches are not looked at: a
    client sends before it could hear of them.
    """

    gamma: Literal["min_max"] | float = 10.0
    perturbation: Perturbation = "std"
    direction: Literal[-1, 1] = -1
    shift: bool = False
    start_round: int = 1

    def __post_init__(self) -> None:
        checked(self, self.start_round, **({} if isinstance(self.gamma, str) else {"gamma": self.gamma}))

    @property
    def threat_model(self) -> ThreatModel:
        return client_threat(Channel.SMASHED)

    def alter(self, message: Message, view: MessageView) -> Message:
        z = message.tensor
        rows = z.reshape(len(z), -1)
        mean, std = mean_std(rows)
        p = perturb(self.perturbation, self.direction, mean, std)
        gamma = largest_within(rows, mean, p) if isinstance(self.gamma, str) else self.gamma
        poisoned = rows + gamma * p if self.shift else (mean + gamma * p).expand(len(rows), -1)
        return with_tensor(message, poisoned.reshape(z.shape))


def largest_within(rows: torch.Tensor, mean: torch.Tensor, p: torch.Tensor) -> float:
    """The largest γ ≥ 0 with max_i ‖μ + γp − b_i‖ ≤ max_ij ‖b_i − b_j‖; 0 where p vanishes. ``rows``: [B, q]."""
    gram = centred_gram(rows, mean, p)
    benign, a = gram[:-1, :-1], float(gram[-1, -1])
    if a == 0:
        return 0.0
    q, c, reach = -gram[:-1, -1], benign.diagonal(), squared_distances(benign).max()
    roots = (-q + (q.square() - a * (c - reach)).clamp_min(0).sqrt()) / a
    return max(0.0, float(roots.min()))
