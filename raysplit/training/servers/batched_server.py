"""A shared server portion that stays fixed while many clients use it and steps once on all their gradients.

Each split step is answered at once, at the portion of its step (or round): nobody waits for anybody. What is kept is
one sum of gradients, not the split steps' graphs, and it is summed in the plan's order, never in order of arrival.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from raysplit.channels.channel import Channel
from raysplit.channels.message import Message
from raysplit.memory.memory import SERVER_OPTIMIZER, State
from raysplit.protocols.plan import RoundPlan
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.protocols.split_steps import SplitStep
from raysplit.training.parties import ServerSlot
from raysplit.training.server import ServerResult, split_step_of


class GradientSum:
    """Σ weight · gradient of a slot's parameters, until the slot steps on it."""

    def __init__(self, slot: ServerSlot) -> None:
        self._slot = slot
        self._sums: dict[int, torch.Tensor] = {}

    def add(self, weight: float) -> None:
        """Take what the last backward pass left with the parameters."""
        for number, parameter in enumerate(self._slot.flat.trainable):
            if parameter.grad is None:
                continue
            if number in self._sums:
                self._sums[number].add_(parameter.grad, alpha=weight)
            else:
                self._sums[number] = parameter.grad * weight

    def step(self) -> None:
        """One optimiser step on the sum, which begins anew."""
        for number, parameter in enumerate(self._slot.flat.trainable):
            parameter.grad = self._sums.get(number)
        self._slot.step()
        self._sums = {}


def union_weights(plan: RoundPlan) -> Callable[[SplitStep], float]:
    """Split step → its share of the samples that all clients bring to this step index: the mean over the union of their
    batches."""
    totals = [0] * int(plan.steps.max())
    for position, steps in enumerate(plan.steps):
        for step in range(int(steps)):
            totals[step] += plan.batching.length(int(plan.samples[position]), step)
    return lambda split_step: (
        plan.batching.length(int(plan.samples[split_step.position]), split_step.step) / totals[split_step.step]
    )


def last_of_each_step(split_steps: list[SplitStep]) -> set[SplitStep]:
    """The split step after which nobody comes with a batch of that index again."""
    return set({split_step.step: split_step for split_step in split_steps}.values())


class BatchedServer:
    """``server_step="step"``: one step a step index, on the mean over the union of its batches, or with the protocol's
    ``accumulate="sum"`` on the plain sum of the clients' mean gradients. ``"round"``: one step a round, on Σ_k (n_k /
    n) of the sum of client k's gradients.

    BatchNorm's running statistics follow the split steps in their order.
    """

    def __init__(
        self,
        protocol: TrainingProtocol,
        plan: RoundPlan,
        slot: ServerSlot,
        vector: torch.Tensor,
        state: State | None,
    ) -> None:
        split_steps = plan.split_steps(protocol)
        self._weight: Callable[[SplitStep], float]
        if protocol.server_step == "round":
            self._weight = lambda split_step: float(plan.weights[split_step.position])
            self._last = {split_steps[-1]}
        else:
            self._weight = (lambda _: 1.0) if protocol.accumulate == "sum" else union_weights(plan)
            self._last = last_of_each_step(split_steps)
        slot.enter(vector, state if plan.server_state == "persistent" else None, plan.server_lr)
        self._plan, self._slot = plan, slot
        self._sum = GradientSum(slot)

    def handle(self, message: Message) -> list[Message]:
        """With labels the whole split step; U-shaped, without, forward to the second cut and then back from it."""
        slot, plan = self._slot, self._plan
        if message.channel is Channel.FEATURE_GRADIENTS:
            gradient, score = slot.backward(message.tensor), None
        else:
            slot.begin(plan.seed, plan.round, message.client, message.step)
            if message.labels is None:
                return [message.reply(Channel.FEATURES, slot.forward(message.tensor))]
            gradient, score = slot.loss_pass(message.tensor, message.labels)
        self._take(split_step_of(message))
        return [message.reply(Channel.CUT_GRADIENTS, gradient, score)]

    def result(self) -> ServerResult:
        return ServerResult(self._slot.flat.vector.clone(), memory={SERVER_OPTIMIZER: self._slot.state()})

    def last_portion(self) -> torch.Tensor:
        return self._slot.flat.vector

    def _take(self, split_step: SplitStep) -> None:
        self._sum.add(self._weight(split_step))
        if split_step in self._last:
            self._sum.step()
