"""The optimiser that steps on an aggregated portion (Reddi et al., ICLR 2021, FedOpt)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from raysplit.memory.memory import State
from raysplit.training.optimizers import OptimizerSpec, copied_state


@dataclass(frozen=True)
class ServerOptimizer:
    """``optimizer`` with the learning rate ``lr`` of a round; without one the aggregate itself is the next portion."""

    optimizer: OptimizerSpec | None = None
    lr: float = 1.0

    def step(
        self, portion: torch.Tensor, aggregated: torch.Tensor, parameters: int, state: State | None
    ) -> tuple[torch.Tensor, State]:
        """The next portion [d + b] and the optimiser's state: one step from ``portion`` W with gradient W − aggregate.

        The first ``parameters`` = d floats are parameters; buffers have no gradient and are taken as aggregated.
        ``state``: from the round before, left as it is; None: a fresh one.
        """
        if self.optimizer is None:
            return aggregated, {}
        weights = portion[:parameters].clone()
        memory = copied_state(state, [weights])
        with torch.no_grad():
            self.optimizer.step([weights], [portion[:parameters] - aggregated[:parameters]], memory, self.lr)
        return torch.cat([weights, aggregated[parameters:]]), memory
