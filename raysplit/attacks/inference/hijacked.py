"""The last step of a hijacking: what clients sent, through the inverse that the server has learned."""

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
from raysplit.parts.part import part


@part
class HijackedInversion(InferenceAttack):
    """x̂ = f̃⁻¹(z), f̃⁻¹ from the run's own attack, ``FeatureSpaceHijacking`` or ``LabelAwareHijacking``; with ``--round R`` as
    it was before that round. Source: Pasquini, Ateniese, Bernaschi, CCS 2021, section 3.1."""

    goal: Goal = "inputs"

    @property
    def reads(self) -> frozenset[Channel]:
        return frozenset({Channel.SMASHED})

    @property
    def needs(self) -> frozenset[Fact]:
        return frozenset({"hijack"})

    def infer(self, observed: Observed, knowledge: Knowledge) -> Reconstruction:
        return Reconstruction(inputs=knowledge.hijack(observed.on(Channel.SMASHED)))
