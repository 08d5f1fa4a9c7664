"""How parties train: rounds, learning rates, batches, optimisers and what becomes of their state."""

from __future__ import annotations

import math
from typing import Any, Literal, Protocol, runtime_checkable

import torch

from raysplit.errors import ScenarioError
from raysplit.parts import part, within
from raysplit.protocols.protocol import ClientState, ServerState


@runtime_checkable
class OptimizerSpec(Protocol):
    """An optimiser of a portion; the learning rate is given apart, because schedules move it."""

    def optimizer(self, parameters: list[torch.nn.Parameter], lr: float) -> torch.optim.Optimizer: ...


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

    def optimizer(self, parameters: list[torch.nn.Parameter], lr: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            parameters, lr=lr, momentum=self.momentum, weight_decay=self.weight_decay, nesterov=self.nesterov
        )


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

    def optimizer(self, parameters: list[torch.nn.Parameter], lr: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(
            parameters, lr=lr, betas=(self.beta1, self.beta2), eps=self.eps, weight_decay=self.weight_decay
        )


@part
class FedOpt:
    """An optimiser on the aggregate (Reddi et al. 2021): the step W − aggregate(W_k) is its gradient.

    ``FedOpt(Sgd(), lr=1.0)`` is plain averaging; ``Sgd(momentum=0.9)`` is FedAvgM, ``Adam()`` is FedAdam. In SplitFedV1 the server
    portion, which is averaged too, gets one of its own.
    """

    optimizer: OptimizerSpec = Sgd()
    lr: float = 1.0

    def __post_init__(self) -> None:
        within("FedOpt.lr", self.lr, 0, math.inf)


@runtime_checkable
class Schedule(Protocol):
    """A learning-rate schedule: a factor for each round (1-based)."""

    def factor(self, round: int, rounds: int) -> float: ...


@part
class StepDecay:
    """Multiply the learning rates by ``factor_each`` every ``every`` rounds."""

    every: int
    factor_each: float = 0.1

    def __post_init__(self) -> None:
        within("StepDecay.every", self.every, 1, math.inf)

    def factor(self, round: int, rounds: int) -> float:
        return float(self.factor_each ** ((round - 1) // self.every))


@part
class CosineDecay:
    """From the full learning rate in round 1 to ``floor`` of it in the last, along half a cosine."""

    floor: float = 0.0

    def factor(self, round: int, rounds: int) -> float:
        progress = (round - 1) / max(1, rounds - 1)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))


@part
class Training:
    """``lr`` is the client's; ``server_lr`` and ``server_optimizer`` (None: the client's) are the main server's.

    ``batch_size=None``: a client's whole set is one batch. ``client_state``: ``fresh`` each round, kept ``per_client``, or ``travels``
    with the hand-over (SL). ``server_state``: ``persistent`` or ``fresh`` each round. None: the protocol's own default.
    ``aggregate``: an optimiser on the aggregated portions, None: they are taken as they are.
    """

    rounds: int
    lr: float
    batch_size: int | None = None
    local_epochs: int = 1
    optimizer: OptimizerSpec = Sgd()
    server_lr: float | None = None
    server_optimizer: OptimizerSpec | None = None
    aggregate: FedOpt | None = None
    schedule: Schedule | None = None
    client_state: ClientState | None = None
    server_state: ServerState | None = None
    precision: Literal["float32", "float64"] = "float32"

    def __post_init__(self) -> None:
        within("Training.rounds", self.rounds, 1, math.inf)
        within("Training.lr", self.lr, 0, math.inf)
        within("Training.local_epochs", self.local_epochs, 1, math.inf)
        if self.batch_size is not None:
            within("Training.batch_size", self.batch_size, 1, math.inf)
        if self.server_lr is not None:
            within("Training.server_lr", self.server_lr, 0, math.inf)

    @property
    def dtype(self) -> torch.dtype:
        return {"float32": torch.float32, "float64": torch.float64}[self.precision]

    def client_lr_at(self, round: int) -> float:
        return self.lr * self._factor(round)

    def server_lr_at(self, round: int) -> float:
        return (self.lr if self.server_lr is None else self.server_lr) * self._factor(round)

    def _factor(self, round: int) -> float:
        return 1.0 if self.schedule is None else self.schedule.factor(round, self.rounds)


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """An optimiser's state as named tensors (``"3.exp_avg"``: parameter 3), detached copies."""
    tensors = {}
    for index, parameter in enumerate(optimizer.param_groups[0]["params"]):
        for name, value in optimizer.state.get(parameter, {}).items():
            if torch.is_tensor(value):
                tensors[f"{index}.{name}"] = value.detach().clone()
    return tensors


def load_optimizer_state(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor] | None) -> None:
    """Give an optimiser the state that ``optimizer_state`` took; None or {} makes it fresh."""
    optimizer.state.clear()
    parameters = optimizer.param_groups[0]["params"]
    for name, value in (tensors or {}).items():
        index, field = name.split(".", 1)
        state: dict[str, Any] = optimizer.state[parameters[int(index)]]
        copy = value.detach().clone()
        if copy.shape == parameters[int(index)].shape:
            copy = torch.empty_like(parameters[int(index)]).copy_(copy)
        state[field] = copy
