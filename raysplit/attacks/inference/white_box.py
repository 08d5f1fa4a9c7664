"""He et al. 2019, white-box: inversion of smashed data with the true client portion."""

from __future__ import annotations

from raysplit.attacks.inference.adversary import Fact
from raysplit.attacks.inference.inference_attack import (
    Goal,
    InferenceAttack,
    Knowledge,
    Observed,
    Reconstruction,
)
from raysplit.attacks.inference.inversion import ImagePrior, invert
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.parts.part import part


@part
class WhiteBoxInversion(InferenceAttack):
    """x ← argmin mean((f(x) − z)²) + prior(x), f the client portion that smashed data came from.

    Who has f: a fed server or any client where portions are averaged, so a main server that colludes with one client
    has everybody's. ``steps`` of Adam (amsgrad, eps 1e-3) at ``lr`` from black, as published; TV weights there are 0 at
    the first convolution and 1 at MNIST's second ReLU. Source: He, Zhang, Lee, ACSAC 2019, section 4; public code.
    """

    steps: int = 5000
    lr: float = 1e-2
    prior: ImagePrior = ImagePrior(variation=0.0)
    goal: Goal = "inputs"

    def __post_init__(self) -> None:
        if self.steps < 1 or self.lr <= 0:
            raise ScenarioError(
                f"WhiteBoxInversion takes steps from 1 and lr above 0, but they are {self.steps} and {self.lr}"
            )

    @property
    def reads(self) -> frozenset[Channel]:
        return frozenset({Channel.SMASHED})

    @property
    def needs(self) -> frozenset[Fact]:
        return frozenset({"client_weights"})

    def infer(self, observed: Observed, knowledge: Knowledge) -> Reconstruction:
        z, f = observed.on(Channel.SMASHED), knowledge.client_portion()
        start = z.new_full((len(z), *knowledge.input_shape), max(0.0, knowledge.range[0]))
        return Reconstruction(inputs=invert(f, z, start, self.prior, self.steps, self.lr, eps=1e-3))
