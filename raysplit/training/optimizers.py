"""Optimisers of a portion: SGD and Adam, by torch's own functional kernels, with their memory as plain named tensors.

Not ``torch.optim.Optimizer`` objects: their first step imports torch's compiler (a second in every process), and their
state must leave and enter a slot with every client anyway.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from raysplit.errors import ScenarioError
from raysplit.memory.memory import State
from raysplit.parts.part import part, within


@runtime_checkable
class OptimizerSpec(Protocol):
    """An optimiser of a portion; the learning rate is given with every step, because schedules move it.

    Its state has ``"3.exp_avg"`` for what belongs to parameter 3.
    """

    def step(self, parameters: Sequence[torch.Tensor], gradients: Gradients, state: State, lr: float) -> None:
        """Move the parameters that have a gradient, in place, under ``torch.no_grad()``; ``state`` is brought up to
        date in place."""


Gradients = Sequence[torch.Tensor | None]


@part
class Sgd:
    """Stochastic gradient descent, as ``torch.optim.SGD``."""

    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        within("Sgd.momentum", self.momentum, 0, 1)
        within("Sgd.weight_decay", self.weight_decay, 0, math.inf)
        if self.nesterov and self.momentum == 0:
            raise ScenarioError("Sgd(nesterov=True) needs momentum > 0")

    def step(self, parameters: Sequence[torch.Tensor], gradients: Gradients, state: State, lr: float) -> None:
        moved, known, numbers = _with_gradient(parameters, gradients)
        buffers = [state.get(f"{i}.momentum_buffer") for i in numbers]
        sgd(
            moved,
            known,
            buffers,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            lr=lr,
            dampening=0.0,
            nesterov=self.nesterov,
            maximize=False,
        )
        for i, buffer in zip(numbers, buffers, strict=True):
            if buffer is not None:
                state[f"{i}.momentum_buffer"] = buffer


@part
class Adam:
    """Adam (Kingma and Ba 2015), as ``torch.optim.Adam``."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        within("Adam.beta1", self.beta1, 0, 1)
        within("Adam.beta2", self.beta2, 0, 1)
        within("Adam.eps", self.eps, 0, math.inf)
        within("Adam.weight_decay", self.weight_decay, 0, math.inf)

    def step(self, parameters: Sequence[torch.Tensor], gradients: Gradients, state: State, lr: float) -> None:
        moved, known, numbers = _with_gradient(parameters, gradients)
        for i, parameter in zip(numbers, moved, strict=True):
            if f"{i}.step" not in state:
                state[f"{i}.step"] = torch.tensor(0.0)
                state[f"{i}.exp_avg"] = torch.zeros_like(parameter)
                state[f"{i}.exp_avg_sq"] = torch.zeros_like(parameter)
        adam(
            moved,
            known,
            [state[f"{i}.exp_avg"] for i in numbers],
            [state[f"{i}.exp_avg_sq"] for i in numbers],
            [],
            [state[f"{i}.step"] for i in numbers],
            amsgrad=False,
            beta1=self.beta1,
            beta2=self.beta2,
            lr=lr,
            weight_decay=self.weight_decay,
            eps=self.eps,
            maximize=False,
        )


def copied_state(state: State | None, parameters: Sequence[torch.Tensor]) -> State:
    """A copy of a state (None: a fresh one), laid out in memory as the parameters are: a checkpoint keeps contiguous
    tensors."""
    copies = {}
    for name, tensor in (state or {}).items():
        like = parameters[int(name.split(".", 1)[0])]
        copies[name] = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor.clone()
    return copies


def _with_gradient(
    parameters: Sequence[torch.Tensor], gradients: Gradients
) -> tuple[list[torch.Tensor], list[torch.Tensor], list[int]]:
    """Parameters, gradients and numbers of those that a loss reached; torch passes over the others too."""
    found = [(p, g, i) for i, (p, g) in enumerate(zip(parameters, gradients, strict=True)) if g is not None]
    return [p for p, _, _ in found], [g for _, g, _ in found], [i for _, _, i in found]
