"""He et al. 2019, query-free: a shadow of the client portion is trained against the server's own portion, then
inverted."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn import functional

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
from raysplit.protocols.requirements import Requirement, labels_at_server


@part
class QueryFree(InferenceAttack):
    """g ← argmin CE(s(g(x)), y) over auxiliary (x, y), s the server's own portion, frozen; then x ← argmin
    mean((g(x) − z)²) + prior(x).

    Source: He, Zhang, Lee, ACSAC 2019, section 6; ``steps`` 500, ``lr`` 0.1 and TV 2 as in the public code. ``epochs``
    over the auxiliary samples, Adam at ``shadow_lr``, batches of 32.
    """

    epochs: int = 20
    shadow_lr: float = 1e-3
    steps: int = 500
    lr: float = 0.1
    prior: ImagePrior = ImagePrior(variation=2.0)
    goal: Goal = "inputs"

    def __post_init__(self) -> None:
        if min(self.epochs, self.steps) < 1 or min(self.lr, self.shadow_lr) <= 0:
            raise ScenarioError(f"QueryFree takes epochs and steps from 1 and rates above 0, but it is {self}")

    @property
    def reads(self) -> frozenset[Channel]:
        return frozenset({Channel.SMASHED})

    @property
    def needs(self) -> frozenset[Fact]:
        return frozenset({"architecture", "server_weights", "auxiliary_data"})

    @property
    def requires(self) -> Iterator[Requirement]:
        yield labels_at_server(
            "{component} trains its shadow against the server portion up to its logits, but the last layers of a U-shaped "
            "{protocol} are the client's; use UnSplit"
        )

    def infer(self, observed: Observed, knowledge: Knowledge) -> Reconstruction:
        shadow, auxiliary = knowledge.untrained_portion(), knowledge.auxiliary()
        draw = knowledge.generator("shadow")
        optimizer = torch.optim.Adam(shadow.parameters(), lr=self.shadow_lr)
        for _ in range(self.epochs):
            for rows in torch.split(torch.randperm(len(auxiliary.y), generator=draw), 32):
                logits = knowledge.finish(shadow(auxiliary.x[rows]))
                optimizer.zero_grad()
                functional.cross_entropy(logits, auxiliary.y[rows]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        for parameter in shadow.parameters():
            parameter.requires_grad_(False)
        z = observed.on(Channel.SMASHED)
        start = z.new_full((len(z), *knowledge.input_shape), max(0.0, knowledge.range[0]))
        inputs = invert(shadow, z, start, self.prior, self.steps, self.lr, eps=1e-3).clamp(*knowledge.range)
        return Reconstruction(inputs=inputs, clones=(shadow,))
