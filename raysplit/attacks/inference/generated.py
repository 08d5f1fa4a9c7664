"""The last step of a client-side GAN attack: samples of the class that its generator has learned."""

from __future__ import annotations

from raysplit.attacks.inference.adversary import Fact
from raysplit.attacks.inference.inference_attack import (
    Goal,
    InferenceAttack,
    Knowledge,
    Observed,
    Reconstruction,
)
from raysplit.channels.channel import Channel
from raysplit.parts.part import part, within


@part
class GeneratedSamples(InferenceAttack):
    """``count`` samples of the generator that the run's ``GanAttack`` has trained, of the malicious client with the
    lowest id; with ``--round R`` as it was before that round. Source: Pasquini, Ateniese, Bernaschi, CCS 2021, section
    5.1."""

    count: int = 64

    goal: Goal = "samples"

    def __post_init__(self) -> None:
        within("GeneratedSamples.count", self.count, 2)

    @property
    def reads(self) -> frozenset[Channel]:
        return frozenset()

    @property
    def needs(self) -> frozenset[Fact]:
        return frozenset({"generator"})

    def infer(self, observed: Observed, knowledge: Knowledge) -> Reconstruction:
        trained = knowledge.trained_generator()
        made = trained.generate(knowledge.generator("samples"), self.count)
        return Reconstruction(samples=made, samples_of=trained.target)
