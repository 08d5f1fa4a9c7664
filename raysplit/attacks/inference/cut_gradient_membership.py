"""Membership by what a main server sees in training alone: the length of a sample's cut gradient."""

from __future__ import annotations

from raysplit.attacks.inference.inference_attack import Goal, InferenceAttack, Knowledge, Observed, Reconstruction
from raysplit.channels.channel import Channel
from raysplit.parts.part import part


@part
class CutGradientMembership(InferenceAttack):
    """The score of a candidate is −‖∂L/∂z‖, z its smashed data: what was learned moves the model little.

    The main server computes this gradient for every sample that it is sent with a label, so it needs neither the sample
    nor the client portion: a candidate is whatever a client sends next. It is the loss seen through the server portion,
    ‖∂L/∂z‖ ≤ ‖∂logits/∂z‖·√2·(1 − p_y), and no calibration is in it.
    """

    goal: Goal = "membership"

    @property
    def reads(self) -> frozenset[Channel]:
        return frozenset({Channel.CUT_GRADIENTS})

    def infer(self, observed: Observed, knowledge: Knowledge) -> Reconstruction:
        return Reconstruction(membership_scores=-observed.on(Channel.CUT_GRADIENTS).flatten(1).norm(dim=1))
