"""One server portion that all clients share and that steps after every split step, unless a detector at its end forbids
it."""

from __future__ import annotations

import torch

from raysplit.channels.channel import Channel
from raysplit.channels.hooks import PartyEnd, Ruling, Snapshot
from raysplit.channels.message import Message
from raysplit.memory.memory import SERVER_OPTIMIZER, State
from raysplit.protocols.plan import RoundPlan
from raysplit.training.parties import ServerSlot
from raysplit.training.server import ServerResult


class SharedServer:
    """Split steps come in the planned order wherever this runs, so what detectors remember depends on the scenario
    alone.

    A split step that is rejected teaches the portion nothing: parameters, BatchNorm statistics and optimiser stay.
    """

    def __init__(
        self, plan: RoundPlan, slot: ServerSlot, vector: torch.Tensor, state: State | None, end: PartyEnd
    ) -> None:
        slot.enter(vector, state if plan.server_state == "persistent" else None, plan.server_lr)
        self._plan, self._slot, self._end = plan, slot, end
        self._received: dict[Channel, Message] = {}
        self._statistics: torch.Tensor | None = None
        for hook in end.round_judges:
            hook.begin_portion(self._snapshot(), self._layers)

    def handle(self, message: Message) -> list[Message]:
        """With labels the whole split step; U-shaped, without, forward to the second cut and then back from it."""
        slot, plan = self._slot, self._plan
        if self._end.judges:
            self._received[message.channel] = message
        if message.channel is Channel.FEATURE_GRADIENTS:
            return [self._settle(message.reply(Channel.CUT_GRADIENTS, slot.backward(message.tensor)))]
        slot.begin(plan.seed, plan.round, message.client, message.step)
        if self._end.judges:
            self._statistics = slot.flat.vector[slot.flat.parameters :].clone()
        if message.labels is None:
            return [message.reply(Channel.FEATURES, slot.forward(message.tensor))]
        gradient, score = slot.loss_pass(message.tensor, message.labels)
        return [self._settle(message.reply(Channel.CUT_GRADIENTS, gradient, score))]

    def result(self) -> ServerResult:
        return ServerResult(self._slot.flat.vector.clone(), memory={SERVER_OPTIMIZER: self._slot.state()})

    def last_portion(self) -> torch.Tensor:
        return self._slot.flat.vector

    def _settle(self, reply: Message) -> Message:
        """Learn from a split step or not, and say what the client gets back."""
        plan, slot = self._plan, self._slot
        ruling = self._end.judge(self._received, reply) if self._end.judges else Ruling(True, reply)
        self._received = {}
        if ruling.accept:
            slot.step()
        elif self._statistics is not None:
            slot.flat.vector[slot.flat.parameters :].copy_(self._statistics)
        if plan.server_state == "each_batch":
            slot.forget()
        if self._end.round_judges and reply.step == plan.steps[reply.position] - 1:
            self._end_local_round(reply)
        return ruling.reply

    def _end_local_round(self, last: Message) -> None:
        """A client has taken its last step: detectors may have the portion go back to an earlier one."""
        plan = self._plan
        for hook in self._end.round_judges:
            earlier = hook.roll_back(last.position, last.client, self._snapshot())
            if earlier is not None:
                # An optimiser that begins every round anew has nothing to remember from an earlier one.
                goes_on = plan.server_state == "persistent" or earlier.round == plan.round
                self._slot.enter(earlier.vector, earlier.state if goes_on else None, plan.server_lr)

    def _snapshot(self) -> Snapshot:
        return Snapshot(self._slot.flat.vector.clone(), self._slot.state(), self._plan.round)

    def _layers(self, vector: torch.Tensor) -> tuple[torch.Tensor, ...]:
        flat = self._slot.flat
        named = flat.named_tensors(vector)
        return tuple(named[name] for name in flat.names[: len(flat.trainable)])
