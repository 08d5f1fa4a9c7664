"""A replica of the server portion for every client, as on Thapa et al.'s main server: clients do not touch each
other."""

from __future__ import annotations

import torch

from raysplit.channels.channel import Channel
from raysplit.channels.hooks import PartyEnd
from raysplit.channels.message import Message
from raysplit.memory.memory import SERVER_REPLICAS, State
from raysplit.protocols.plan import RoundPlan
from raysplit.training.parties import ServerSlot
from raysplit.training.server import ServerResult
from raysplit.training.servers.collected import CollectedReplicas
from raysplit.training.slot_pool import Gathering, SlotPool


class ReplicaServer:
    """Serves the clients of ``groups``. A replica that has taken its last step of the round is a message on
    ``server_updates``."""

    def __init__(
        self,
        plan: RoundPlan,
        slots: list[ServerSlot],
        vector: torch.Tensor,
        state: State | None,
        groups: list[int],
        end: PartyEnd,
        collected: CollectedReplicas | None = None,
    ) -> None:
        """``collected``: where replicas outlive the round."""
        start_state = state if plan.server_state == "persistent" else None
        self._plan, self._end, self._collected = plan, end, collected
        self._slot_pool = SlotPool(
            slots, lambda p: (collected.of(p) if collected else vector, start_state), plan.server_lr
        )
        orders = {group: [p for p in plan.groups[group] if p < plan.reporting] for group in groups}
        self._gathering = Gathering(orders, torch.from_numpy(plan.weights), plan.server_rows)
        self._busy: set[int] = set()
        self._last = vector

    def handle(self, message: Message) -> list[Message]:
        """With labels the whole split step; U-shaped, without, forward to the second cut and then back from it."""
        slot = self._slot_pool.acquire(message.position, self._busy.__contains__)
        if message.channel is Channel.FEATURE_GRADIENTS:
            self._busy.discard(message.position)
            gradient, score = slot.backward(message.tensor), None
        else:
            slot.begin(self._plan.seed, self._plan.round, message.client, message.step)
            if message.labels is None:
                self._busy.add(message.position)
                return [message.reply(Channel.FEATURES, slot.forward(message.tensor))]
            gradient, score = slot.loss_pass(message.tensor, message.labels)
        slot.step()
        self._finish(message, slot)
        return [message.reply(Channel.CUT_GRADIENTS, gradient, score)]

    def result(self) -> ServerResult:
        if self._collected is not None:
            return ServerResult(self._collected.average, memory={SERVER_REPLICAS: self._collected.kept()})
        return ServerResult(sums=self._gathering.sums, rows=self._gathering.rows)

    def last_portion(self) -> torch.Tensor:
        return self._last

    def _finish(self, message: Message, slot: ServerSlot) -> None:
        position = message.position
        self._last = slot.flat.vector
        if self._plan.server_state == "each_batch":
            slot.forget()
        if message.step < self._plan.steps[position] - 1:
            return
        self._slot_pool.release(position)
        if self._collected is not None:
            self._collected.put(position, self._sent(message, slot))
            self._last = self._collected.of(position)
        elif position < self._plan.reporting:
            self._gathering.put(position, self._sent(message, slot))

    def _sent(self, last: Message, slot: ServerSlot) -> torch.Tensor:
        """The finished replica [d], on its way to be averaged; a frozen one does not travel."""
        if not slot.flat.vector.numel():
            return slot.flat.vector
        return self._end.sends(last.reply(Channel.SERVER_UPDATES, slot.flat.vector)).tensor
