"""Membership beside reference models that never saw the candidates: Watson et al. 2022, and LiRA with few models."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from raysplit.attacks.inference.adversary import Fact
from raysplit.attacks.inference.inference_attack import (
    Goal,
    InferenceAttack,
    Knowledge,
    Observed,
    Reconstruction,
)
from raysplit.attacks.inference.loss_membership import candidate_logits
from raysplit.attacks.inference.target import Auxiliary
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.parts.part import part

Statistic = Literal["loss", "logit"]
_CHUNK = 256


@part
class CalibratedMembership(InferenceAttack):
    """The score of a candidate (x, y) is s(model) − mean of s(reference) over ``models`` reference models: some samples
    are easy for everybody.

    ``statistic="loss"``: s = −CE (Watson et al.). ``"logit"``: s = log(p_y/(1 − p_y)), which is LiRA without shadow models
    that saw the candidate, and with one variance for all candidates, as its authors advise for few models; the order of
    scores is then that of the differences. References have the model's architecture and learn ``epochs`` of Adam at
    ``learning_rate`` on auxiliary samples with labels: on all of them, or each on a random half where there are several.

    Sources: Watson, Guo, Cormode, Sablayrolles, ICLR 2022; Carlini et al., S&P 2022, sections V and VI-C.
    """

    models: int = 1
    epochs: int = 20
    learning_rate: float = 1e-3
    batch_size: int = 64
    statistic: Statistic = "logit"
    goal: Goal = "membership"

    def __post_init__(self) -> None:
        if min(self.models, self.epochs, self.batch_size) < 1 or self.learning_rate <= 0:
            raise ScenarioError(
                "CalibratedMembership takes models, epochs and batch_size from 1 and learning_rate above 0, but they are "
                f"{self.models}, {self.epochs}, {self.batch_size} and {self.learning_rate}"
            )

    @property
    def reads(self) -> frozenset[Channel]:
        return frozenset()

    @property
    def needs(self) -> frozenset[Fact]:
        return frozenset({"candidates", "architecture", "client_weights", "server_weights", "auxiliary_data"})

    def infer(self, observed: Observed, knowledge: Knowledge) -> Reconstruction:
        candidates, auxiliary = knowledge.candidates(), knowledge.auxiliary()
        scores = statistic_of(self.statistic, candidate_logits(knowledge), candidates.y)
        for index in range(self.models):
            draw = knowledge.generator("reference", index)
            order = torch.randperm(len(auxiliary.y), generator=draw)
            rows = order if self.models == 1 else order[: max(1, len(order) // 2)]
            network = self._trained(
                knowledge.untrained_model(index), Auxiliary(auxiliary.x[rows], auxiliary.y[rows]), draw
            )
            with torch.no_grad():
                logits = torch.cat([network(x) for x in torch.split(candidates.x, _CHUNK)])
            scores = scores - statistic_of(self.statistic, logits, candidates.y) / self.models
        return Reconstruction(membership_scores=scores)

    def _trained(self, network: nn.Module, known: Auxiliary, draw: torch.Generator) -> nn.Module:
        optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        for _ in range(self.epochs):
            for rows in torch.split(torch.randperm(len(known.y), generator=draw), self.batch_size):
                optimizer.zero_grad()
                functional.cross_entropy(network(known.x[rows]), known.y[rows]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        return network


def statistic_of(kind: Statistic, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Of logits [n, classes]: [n]; formulas in ``CalibratedMembership``. log(p/(1 − p)) is the right logit less the
    log-sum-exp of the others, which saturates nowhere."""
    right = logits.gather(1, labels[:, None])[:, 0]
    if kind == "loss":
        return right - logits.logsumexp(1)
    others = logits.scatter(1, labels[:, None], float("-inf"))
    return right - others.logsumexp(1)
