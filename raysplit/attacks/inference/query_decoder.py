"""He et al. 2019, black-box: an inverse network learned from answers of the client portion to chosen inputs."""

from __future__ import annotations

from typing import Literal

import torch

from raysplit.attacks.inference.adversary import Fact
from raysplit.attacks.inference.decoders import RATES, DecoderTraining, strongest
from raysplit.attacks.inference.inference_attack import (
    Goal,
    InferenceAttack,
    Knowledge,
    Observed,
    Reconstruction,
)
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.models.decoders import DECODERS, Decoder
from raysplit.parts.canonical import added_later
from raysplit.parts.part import part


@part
class QueryDecoder(InferenceAttack):
    """Ask f about ``queries`` auxiliary inputs, train x̂ = d(z) on the pairs (f(x), x), and apply d to what was observed.

    ``decoders``: the sizes that are tried; the one with the smallest error on held-out *auxiliary* pairs attacks, and
    ``Reconstruction.chosen`` says which. All four are ``("small", "wide", "residual", "deep")``. ``trials``: a budget of
    tuning, at most three for each decoder: at ``training.lr``, then at three times and a third of it, chosen in the same
    way; 0: each decoder once. ``inputs="noise"``: asks about uniform noise instead of auxiliary samples, for an adversary without data. Source: He,
    Zhang, Lee, ACSAC 2019, section 5.
    """

    queries: int = 1000
    training: DecoderTraining = DecoderTraining()
    decoders: tuple[Decoder, ...] = DECODERS[:1]
    inputs: Literal["auxiliary", "noise"] = "auxiliary"
    trials: int = added_later(0)
    goal: Goal = "inputs"

    def __post_init__(self) -> None:
        if self.queries < 2 or not self.decoders:
            raise ScenarioError(
                f"QueryDecoder takes two queries and one decoder at least, but has {self.queries} and {self.decoders}"
            )
        most = len(RATES) * len(self.decoders)
        if not 0 <= self.trials <= most:
            raise ScenarioError(
                f"QueryDecoder.trials is from 0 to {most}, three rates for each of {len(self.decoders)} decoders, but it is "
                f"{self.trials}"
            )

    @property
    def reads(self) -> frozenset[Channel]:
        return frozenset({Channel.SMASHED})

    @property
    def needs(self) -> frozenset[Fact]:
        return frozenset({"queries", "auxiliary_data"} if self.inputs == "auxiliary" else {"queries"})

    def infer(self, observed: Observed, knowledge: Knowledge) -> Reconstruction:
        draw = knowledge.generator("decoder")
        x = self._asked(knowledge, draw)
        z = knowledge.query(x)
        network, choice = strongest(self.decoders, (z, x), self.training, draw, self.trials)
        with torch.no_grad():
            inputs = network(observed.on(Channel.SMASHED)).clamp(*knowledge.range)
        return Reconstruction(inputs=inputs, queries=knowledge.queries, chosen=str(choice))

    def _asked(self, knowledge: Knowledge, draw: torch.Generator) -> torch.Tensor:
        if self.inputs == "auxiliary":
            x = knowledge.auxiliary().x
            return x[torch.randperm(len(x), generator=draw)[: self.queries]]
        low, high = knowledge.range
        return low + (high - low) * torch.rand((self.queries, *knowledge.input_shape), generator=draw)
