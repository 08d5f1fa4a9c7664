"""Yeom et al. 2018: who was trained on has a small loss."""

from __future__ import annotations

import torch
from torch.nn import functional

from raysplit.attacks.inference.adversary import Fact
from raysplit.attacks.inference.inference_attack import Goal, InferenceAttack, Knowledge, Observed, Reconstruction
from raysplit.channels.channel import Channel
from raysplit.parts.part import part

_CHUNK = 256


@part
class LossMembership(InferenceAttack):
    """The score of a candidate (x, y) is −CE(model(x), y), the trained model's loss. No message is read: the whole model
    is enough, which a fed server or client of FedAvg has, and in split learning two parties together.

    Source: Yeom, Giacomelli, Fredrikson, Jha, CSF 2018, section III-B; the threshold is left to the scores.
    """

    goal: Goal = "membership"

    @property
    def reads(self) -> frozenset[Channel]:
        return frozenset()

    @property
    def needs(self) -> frozenset[Fact]:
        return frozenset({"candidates", "client_weights", "server_weights"})

    def infer(self, observed: Observed, knowledge: Knowledge) -> Reconstruction:
        logits, y = candidate_logits(knowledge), knowledge.candidates().y
        return Reconstruction(membership_scores=-functional.cross_entropy(logits, y, reduction="none"))


@torch.no_grad()
def candidate_logits(knowledge: Knowledge) -> torch.Tensor:
    """Logits [n, classes] of the candidates by the trained model."""
    portion = knowledge.client_portion()
    return torch.cat([knowledge.finish(portion(x)) for x in torch.split(knowledge.candidates().x, _CHUNK)])
