"""UnSplit (Erdoğan et al. 2021): inversion and stealing by a main server that knows the client portion's layers only.

Input and clone are searched for by turns: coordinate descent on (x, γ̃) until f(γ̃, x) is what was observed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import nn
from torch.func import functional_call, vmap

from raysplit.attacks.inference.adversary import Fact
from raysplit.attacks.inference.inference_attack import (
    Goal,
    InferenceAttack,
    Knowledge,
    Observed,
    Reconstruction,
)
from raysplit.attacks.inference.inversion import ImagePrior, mismatch_gradient
from raysplit.attacks.inference.narrow_convolutions import fast_kernels
from raysplit.channels.channel import Channel
from raysplit.errors import ScenarioError
from raysplit.parts.part import part

Clones = Literal["one_an_image", "shared", "in_turn"]


@part
class UnSplit(InferenceAttack):
    """x ← argmin_x MSE(f(γ̃; x), z) + prior(x), then γ̃ ← argmin_γ̃ MSE(f(γ̃; x), z), ``rounds`` times.

    Each turn takes ``input_steps``, then ``model_steps`` of Adam (amsgrad) at ``lr``, from grey (0.5 of the range).
    ``clones``: ``"one_an_image"``, as the paper writes: every image has its own γ̃ (all run as one batch). ``"shared"``:
    one γ̃ must explain all images at once. ``"in_turn"``: the public code, where images are attacked one after another
    and the next goes on with the γ̃ of the one before. ``as_published()`` gives that with the code's undocumented L2 term.

    Source: Erdoğan, Küpçü, Çiçek 2021, section 4.2, equations (1) and (2), Algorithm 1; section 5.1 for the values: TV
    weight 0.1 at the first three cuts and 1 behind them. A server cannot tell (γ, x) from (γQᵀ, Qx) where the first
    layer is dense, so nothing is found there.
    """

    rounds: int = 1000
    input_steps: int = 100
    model_steps: int = 100
    lr: float = 1e-3
    prior: ImagePrior = ImagePrior(variation=0.1)
    clones: Clones = "one_an_image"
    goal: Goal = "inputs"

    def __post_init__(self) -> None:
        if min(self.rounds, self.input_steps) < 1 or self.model_steps < 0 or self.lr <= 0:
            raise ScenarioError(
                "UnSplit takes rounds and input_steps from 1, model_steps from 0 and lr above 0, but they are "
                f"{self.rounds}, {self.input_steps}, {self.model_steps} and {self.lr}"
            )

    @staticmethod
    def as_published(rounds: int = 1000) -> UnSplit:
        """What the public code computes: TV 0.1 at every cut, mean(x²) added with weight 1, clones in turn."""
        return UnSplit(rounds=rounds, prior=ImagePrior(variation=0.1, energy=1.0), clones="in_turn")

    @property
    def reads(self) -> frozenset[Channel]:
        return frozenset({Channel.SMASHED})

    @property
    def needs(self) -> frozenset[Fact]:
        return frozenset({"architecture"})

    def infer(self, observed: Observed, knowledge: Knowledge) -> Reconstruction:
        z = observed.on(Channel.SMASHED)
        low, high = knowledge.range
        start = z.new_full((len(z), *knowledge.input_shape), (low + high) / 2)
        clones = tuple(
            knowledge.untrained_portion(index) for index in range(len(z) if self.clones == "one_an_image" else 1)
        )
        with fast_kernels(clones[0]):
            return Reconstruction(inputs=self._found(z, start, clones), clones=clones)

    def _found(self, z: torch.Tensor, start: torch.Tensor, clones: Sequence[nn.Module]) -> torch.Tensor:
        if self.clones == "one_an_image":
            return self._separately(z, start, clones)
        (clone,) = clones
        parameters = list(clone.parameters())
        if self.clones == "shared":
            return self._descend(z, start, parameters, clone, together=True)
        one_by_one = zip(torch.split(z, 1), torch.split(start, 1), strict=True)
        return torch.cat([self._descend(row, x, parameters, clone) for row, x in one_by_one])

    def _separately(self, z: torch.Tensor, start: torch.Tensor, clones: Sequence[nn.Module]) -> torch.Tensor:
        """Every image with its own clone, all side by side: parameters [n, …] through one batched forward pass."""
        named = [dict(clone.named_parameters()) for clone in clones]
        stacked = {name: torch.stack([p[name].detach() for p in named]).requires_grad_() for name in named[0]}
        shape = copy.deepcopy(clones[0]).to(memory_format=torch.contiguous_format)

        def one(parameters: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
            output: torch.Tensor = functional_call(shape, parameters, (x[None],))[0]
            return output

        batched = vmap(one)
        found = self._descend(z, start, list(stacked.values()), lambda x: batched(stacked, x))
        with torch.no_grad():
            for index, parameters in enumerate(named):
                for name, parameter in parameters.items():
                    parameter.copy_(stacked[name][index])
        return found

    def _descend(
        self,
        z: torch.Tensor,
        start: torch.Tensor,
        parameters: Sequence[torch.Tensor],
        forward: Callable[[torch.Tensor], torch.Tensor],
        together: bool = False,
    ) -> torch.Tensor:
        """Coordinate descent from ``start`` and the ``parameters``, which end as the clone's. Both optimisers keep
        their moments over all turns, as in the public code. ``together``: the clone goes by the mean over images."""
        x = start.clone().requires_grad_()
        inputs = torch.optim.Adam([x], lr=self.lr, amsgrad=True, fused=True)
        model = torch.optim.Adam(parameters, lr=self.lr, amsgrad=True, fused=True)
        share = 1 / len(z) if together else 1.0
        for _ in range(self.rounds):
            for _ in range(self.input_steps):
                found = forward(x)
                (gradient,) = torch.autograd.grad(found, [x], mismatch_gradient(found, z))
                x.grad = gradient + self.prior.gradient(x.detach())
                inputs.step()
            fixed = x.detach()
            for _ in range(self.model_steps):
                found = forward(fixed)
                gradients = torch.autograd.grad(found, parameters, mismatch_gradient(found, z) * share)
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.grad = gradient
                model.step()
        return x.detach()
