"""The main server's half of a round: one shared portion or one replica a client, served visit by visit."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch

from raysplit.channels.channel import Channel
from raysplit.memory.memory import State
from raysplit.protocols.plan import RoundPlan
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.protocols.split_steps import SplitStep
from raysplit.training.parties import Score, ServerSlot
from raysplit.training.servers.collected import CollectedReplicas
from raysplit.training.slot_pool import Gathering, SlotPool


class Reply(NamedTuple):
    """What the server sends back: features (U-shaped, first) or cut gradients; the score where the server knows it."""

    channel: Channel
    split_step: SplitStep
    tensor: torch.Tensor
    score: Score | None


class Replicas(NamedTuple):
    """Server replicas at the end of a round: their weighted ``sums`` by client group, or each as a row by cohort
    position, [d] each."""

    sums: dict[int, torch.Tensor]
    rows: dict[int, torch.Tensor]


class MainServerSide(Protocol):
    """What plays the main server in a round. Each call returns the replies that are due now, to whichever clients."""

    def smashed(self, split_step: SplitStep, z: torch.Tensor, y: torch.Tensor | None) -> list[Reply]: ...

    def feature_gradients(self, split_step: SplitStep, gradient: torch.Tensor) -> list[Reply]: ...

    def shared_result(self) -> tuple[torch.Tensor, State]:
        """After the last visit: the shared portion and its optimiser's state."""
        ...

    def replicas(self) -> Replicas:
        """After the last visit: the replicas of the clients that report; none where the portion is shared."""
        ...


class ServerSide:
    """Answers smashed data and feature gradients; ``positions`` are the clients that it will serve this round."""

    def __init__(
        self,
        protocol: TrainingProtocol,
        plan: RoundPlan,
        slots: list[ServerSlot],
        vector: torch.Tensor,
        state: State | None,
        groups: list[int],
        collected: CollectedReplicas | None = None,
    ) -> None:
        self._protocol = protocol
        self._plan = plan
        self._steps = plan.steps
        self._shared = protocol.server == "shared"
        self._busy: set[int] = set()
        start_state = state if plan.server_state == "persistent" else None
        self._anew = plan.server_state == "each_batch"
        self._collected = collected
        self._standing: torch.Tensor | None = None
        self._slot_pool = SlotPool(
            slots, lambda p: (collected.of(p) if collected else vector, start_state), plan.server_lr
        )
        weights = torch.from_numpy(plan.weights)
        self._reporting = plan.reporting
        orders = {group: [p for p in plan.groups[group] if p < plan.reporting] for group in groups}
        self.gathering = Gathering(orders, weights, plan.server_rows)
        if self._shared:
            self._slot_pool.acquire(0)

    def smashed(self, split_step: SplitStep, z: torch.Tensor, y: torch.Tensor | None) -> list[Reply]:
        """One visit begins. Not U-shaped: the whole server step. U-shaped (``y`` is None): forward to the second
        cut."""
        slot = self._slot(split_step)
        slot.begin(self._plan.seed, self._plan.round, int(self._plan.clients[split_step.position]), split_step.step)
        if y is None:
            self._busy.add(split_step.position)
            return [Reply(Channel.FEATURES, split_step, slot.forward(z), None)]
        gradient, score = slot.whole_step(z, y)
        self._finish(split_step, slot)
        return [Reply(Channel.CUT_GRADIENTS, split_step, gradient, score)]

    def feature_gradients(self, split_step: SplitStep, gradient: torch.Tensor) -> list[Reply]:
        """U-shaped: the second half of a visit."""
        slot = self._slot(split_step)
        self._busy.discard(split_step.position)
        cut_gradient = slot.backward(gradient)
        self._finish(split_step, slot)
        return [Reply(Channel.CUT_GRADIENTS, split_step, cut_gradient, None)]

    def shared_result(self) -> tuple[torch.Tensor, State]:
        """After the last visit: the shared portion and its optimiser's state."""
        slot = self._slot_pool.leave(0)
        return slot.flat.vector.clone(), slot.state()

    def replicas(self) -> Replicas:
        return Replicas(self.gathering.sums, self.gathering.rows)

    def standing(self) -> torch.Tensor:
        """The server portion that belongs to the client of the last visit, which was its last; valid until the next
        visit."""
        assert self._standing is not None
        return self._standing

    def _slot(self, split_step: SplitStep) -> ServerSlot:
        return self._slot_pool.acquire(0 if self._shared else split_step.position, self._busy.__contains__)

    def _finish(self, split_step: SplitStep, slot: ServerSlot) -> None:
        self._standing = slot.flat.vector
        if self._anew:
            slot.forget()
        if not self._shared and split_step.step == self._steps[split_step.position] - 1:
            self._slot_pool.leave(split_step.position)
            if self._collected is not None:
                self._collected.put(split_step.position, slot.flat.vector)
                self._standing = self._collected.of(split_step.position)
            elif split_step.position < self._reporting:
                self.gathering.put(split_step.position, slot.flat.vector)
