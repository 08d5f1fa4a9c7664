"""A shared server portion that stands still while many clients visit it and steps once on all their gradients.

Each visit is answered at once, at the portion of its step (or round): nobody waits for anybody. What is kept is one sum of
gradients, not the visits' graphs, and it is summed in the plan's order, never in order of arrival.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from raysplit.channels import Channel
from raysplit.optimizers import State
from raysplit.protocols.parties import ServerSeat
from raysplit.protocols.plan import RoundPlan
from raysplit.protocols.protocol import TrainingProtocol, server_turn
from raysplit.protocols.server_side import Replicas, Reply
from raysplit.protocols.visits import Visit, batch_length


class GradientSum:
    """Σ weight · gradient of a seat's parameters, until the seat steps on it."""

    def __init__(self, seat: ServerSeat) -> None:
        self._seat = seat
        self._sums: dict[int, torch.Tensor] = {}

    def add(self, weight: float) -> None:
        """Take what the last backward pass left with the parameters."""
        for number, parameter in enumerate(self._seat.flat.trainable):
            if parameter.grad is None:
                continue
            if number in self._sums:
                self._sums[number].add_(parameter.grad, alpha=weight)
            else:
                self._sums[number] = parameter.grad * weight

    def step(self) -> None:
        """One optimiser step on the sum, which begins anew."""
        for number, parameter in enumerate(self._seat.flat.trainable):
            parameter.grad = self._sums.get(number)
        self._seat.step()
        self._sums = {}


def union_weights(plan: RoundPlan) -> Callable[[Visit], float]:
    """Visit → its share of the samples that all clients bring to this step index: the mean over the union of their batches."""
    totals = [0] * int(plan.steps.max())
    for position, steps in enumerate(plan.steps):
        for step in range(int(steps)):
            totals[step] += batch_length(int(plan.samples[position]), plan.batch_size, step)
    return lambda visit: (
        batch_length(int(plan.samples[visit.position]), plan.batch_size, visit.step) / totals[visit.step]
    )


def last_of_each_step(visits: list[Visit]) -> set[Visit]:
    """The visit after which nobody comes with a batch of that index again."""
    return set({visit.step: visit for visit in visits}.values())


class BatchedServer:
    """``server_turn="step"``: one step a step index, on the mean over the union of its batches, or with the protocol's
    ``accumulate="sum"`` on the plain sum of the clients' mean gradients. ``"round"``: one step a round, on Σ_k (n_k / n) of the
    sum of client k's gradients.

    BatchNorm's running statistics follow the visits in their order.
    """

    def __init__(
        self,
        protocol: TrainingProtocol,
        plan: RoundPlan,
        seat: ServerSeat,
        vector: torch.Tensor,
        state: State | None,
    ) -> None:
        visits = plan.visits(protocol)
        self._weight: Callable[[Visit], float]
        if server_turn(protocol) == "round":
            self._weight = lambda visit: float(plan.weights[visit.position])
            self._last = {visits[-1]}
        else:
            self._weight = (lambda _: 1.0) if getattr(protocol, "accumulate", "mean") == "sum" else union_weights(plan)
            self._last = last_of_each_step(visits)
        seat.enter(vector, state if plan.server_state == "persistent" else None, plan.server_lr)
        self._plan, self._seat = plan, seat
        self._sum = GradientSum(seat)

    def smashed(self, visit: Visit, z: torch.Tensor, y: torch.Tensor | None) -> list[Reply]:
        """Not U-shaped: the whole visit. U-shaped (``y`` is None): forward to the second cut."""
        self._seat.begin(self._plan.seed, self._plan.round, int(self._plan.clients[visit.position]), visit.step)
        if y is None:
            return [Reply(Channel.FEATURES, visit, self._seat.forward(z), None)]
        gradient, score = self._seat.gradients(z, y)
        self._take(visit)
        return [Reply(Channel.CUT_GRADIENTS, visit, gradient, score)]

    def feature_gradients(self, visit: Visit, gradient: torch.Tensor) -> list[Reply]:
        """U-shaped: the second half of a visit."""
        cut_gradient = self._seat.feature_gradients(gradient)
        self._take(visit)
        return [Reply(Channel.CUT_GRADIENTS, visit, cut_gradient, None)]

    def shared_result(self) -> tuple[torch.Tensor, State]:
        return self._seat.flat.vector.clone(), self._seat.state()

    def replicas(self) -> Replicas:
        return Replicas({}, {})

    def _take(self, visit: Visit) -> None:
        self._sum.add(self._weight(visit))
        if visit in self._last:
            self._sum.step()
