"""How parties train: rounds, learning rates, batches, and what becomes of their optimisers' state."""

from __future__ import annotations

import math
from numbers import Real
from typing import Literal, Protocol, runtime_checkable

import torch

from raysplit.errors import ScenarioError
from raysplit.parts.canonical import added_later
from raysplit.parts.part import part, within
from raysplit.protocols.batching import Batching, LastBatch
from raysplit.protocols.protocol import ClientState, ServerState
from raysplit.protocols.requirements import Requirement
from raysplit.training.optimizers import OptimizerSpec, Sgd


@part
class FedOpt:
    """An optimiser on the aggregate (Reddi et al. 2021): the step W − aggregate(W_k) is its gradient.

    ``FedOpt(Sgd(), lr=1.0)`` is plain averaging; ``Sgd(momentum=0.9)`` is FedAvgM, ``Adam()`` is FedAdam. In SplitFedV1
    the server portion, which is averaged too, gets one of its own.
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


_OF_FED_OPT = (
    Requirement(
        lambda setting: setting.protocol.client_sync == "averaging" or setting.protocol.server == "replicas",
        "Training.aggregate steps on aggregated portions, but {protocol} aggregates nothing; leave it None",
    ),
    Requirement(
        lambda setting: setting.protocol.published.replicas_meet != "all_collected",
        "{protocol} as published averages portions and takes no step on the average; leave Training.aggregate None",
    ),
)


@part
class Training:
    """``lr`` is the client's; ``server_lr`` and ``server_optimizer`` (None: the client's) are the main server's.

    ``batch_size=None``: a client's whole set is one batch. ``last_batch``: what becomes of the samples that are left in
    an epoch: a smaller batch of their own (``keep``), left out of it (``drop``), or in the batch before them
    (``join``); fewer than ``batch_size`` samples are one batch in any case, and clients weigh by the samples that they
    have. ``poisson_rate``: instead of shuffled batches, every sample is in every batch with this probability, by
    itself, in round(1 / rate) steps an epoch, with ``batch_size=None``; a batch may be empty. ``client_state``:
    ``fresh`` each round, kept ``per_client``, or ``travels`` with the hand-over (SL). ``server_state``: ``persistent``
    or ``fresh`` each round. None: the protocol's own default. ``aggregate``: an
    optimiser on the aggregated portions, None: they are taken as they are.
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
    last_batch: LastBatch = added_later("keep")
    poisson_rate: float | None = added_later(None)

    def __post_init__(self) -> None:
        within("Training.rounds", self.rounds, 1, math.inf)
        within("Training.lr", self.lr, 0, math.inf)
        within("Training.local_epochs", self.local_epochs, 1, math.inf)
        if self.batch_size is not None:
            within("Training.batch_size", self.batch_size, 1, math.inf)
        if self.poisson_rate is not None:
            if not 0 < self.poisson_rate < 1:
                raise ScenarioError(
                    f"Training.poisson_rate must lie between 0 and 1, or be None for shuffled batches, but it is "
                    f"{self.poisson_rate}"
                )
            if self.batch_size is not None:
                raise ScenarioError(
                    "Training.poisson_rate draws batches of any size, but batch_size is "
                    f"{self.batch_size}; leave one of them None"
                )
        if self.server_lr is not None:
            within("Training.server_lr", self.server_lr, 0, math.inf)
        if self.schedule is not None:
            for round in range(1, self.rounds + 1):
                self._factor(round)

    @property
    def requires(self) -> tuple[Requirement, ...]:
        return (
            Requirement(
                lambda setting: (
                    (self.client_state or setting.protocol.client_state) != "travels"
                    or setting.protocol.client_sync == "handover"
                ),
                "Training(client_state='travels') needs a protocol with hand-over, but {protocol} has none; use "
                "'fresh' or 'per_client'",
            ),
            Requirement(
                lambda setting: (
                    (self.server_state or setting.protocol.server_state) != "persistent"
                    or setting.protocol.server != "replicas"
                ),
                "Training(server_state='persistent') needs one shared server portion, but {protocol} has replicas that "
                "are averaged; use 'fresh'",
            ),
            Requirement(
                lambda setting: (
                    (self.server_state or setting.protocol.server_state) != "each_batch"
                    or setting.protocol.server_step == "split_step"
                ),
                "server_state='each_batch' makes the server's optimiser anew after every split step, but {protocol} "
                "has server_step={answers.server_step!r}; use 'fresh' or 'persistent'",
            ),
            *(_OF_FED_OPT if self.aggregate is not None else ()),
        )

    @property
    def batching(self) -> Batching:
        """How a client's samples are cut into batches."""
        return Batching(self.batch_size, self.last_batch, self.poisson_rate)

    @property
    def dtype(self) -> torch.dtype:
        return {"float32": torch.float32, "float64": torch.float64}[self.precision]

    def client_lr_at(self, round: int) -> float:
        return self.lr * self._factor(round)

    def server_lr_at(self, round: int) -> float:
        return (self.lr if self.server_lr is None else self.server_lr) * self._factor(round)

    def _factor(self, round: int) -> float:
        if self.schedule is None:
            return 1.0
        factor = self.schedule.factor(round, self.rounds)
        if not isinstance(factor, Real) or not 0 <= factor < math.inf:
            raise ScenarioError(
                f"{type(self.schedule).__name__}.factor({round}, {self.rounds}) must be a number of at least 0, but it "
                f"is {factor!r}"
            )
        return factor
