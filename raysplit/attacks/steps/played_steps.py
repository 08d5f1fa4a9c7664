"""A malicious client's split steps as a host plays them: held to the messages of the protocol, and counted."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import torch

from raysplit.attacks.messages.tampering import Tampered
from raysplit.attacks.steps.step_attack import MaliciousSteps, StepAttack, StepStart, path_of
from raysplit.channels.channel import Channel
from raysplit.channels.message import Message, StepAddress
from raysplit.errors import ScenarioError
from raysplit.memory.memory import Memory
from raysplit.training.client_step import ClientStep
from raysplit.training.gradient_rules import GradientRule
from raysplit.training.parties import ClientSlot

SENDS = {False: (Channel.SMASHED,), True: (Channel.SMASHED, Channel.FEATURE_GRADIENTS)}
"""U-shaped or not: what a client sends in a split step, in this order; each message is answered by one."""


@dataclass
class PlayedSteps:
    """What an attack does in place of one client's split steps in a round: a ``SplitStepOf``. ``number``: the attack's
    own among those in force."""

    attack: StepAttack
    number: int
    start: StepStart
    requests: int = field(init=False)
    _steps: MaliciousSteps = field(init=False)
    _done: Tampered = field(default_factory=Tampered, init=False)

    def __post_init__(self) -> None:
        self.requests = len(SENDS[self.start.u_shaped])
        self._steps = self.attack.steps(self.start)

    def __call__(
        self, slot: ClientSlot, x: torch.Tensor, y: torch.Tensor, address: StepAddress, rule: GradientRule | None
    ) -> ClientStep:
        """Raises ``ScenarioError`` where the attack sends what no honest client could."""
        step = self._steps.step(slot, x, y, address, rule)
        sends, answer, seconds = SENDS[self.start.u_shaped], None, 0.0
        for channel in sends:
            began = time.perf_counter()
            try:
                message = next(step) if answer is None else step.send(answer)
            except StopIteration as early:
                raise self._wrong(f"ends a split step before its '{channel.value}'") from early
            seconds += time.perf_counter() - began
            answer = yield self._checked(message, channel, len(y), address, answer)
        began = time.perf_counter()
        try:
            assert answer is not None
            step.send(answer)
        except StopIteration as end:
            seconds += time.perf_counter() - began
            self._done = self._done.plus(Tampered(len(sends), len(sends), math.nan, seconds=seconds))
            return end.value
        raise self._wrong("sends more in a split step")

    def _checked(
        self, message: Message | None, channel: Channel, batch: int, address: StepAddress, answer: Message | None
    ) -> Message:
        if not isinstance(message, Message) or message.channel is not channel:
            raise self._wrong(f"does not send its '{channel.value}' where an honest client does")
        wanted = address.message(channel, message.tensor, message.labels)
        if wanted != message:
            raise self._wrong("sends a message of another split step than its own; use address.message(...)")
        tensor, labels = message.tensor, message.labels
        if answer is not None and (tensor.shape, tensor.dtype) != (answer.tensor.shape, answer.tensor.dtype):
            raise self._wrong(
                f"sends {tuple(tensor.shape)} of {tensor.dtype} on '{channel.value}' in answer to "
                f"{tuple(answer.tensor.shape)} of {answer.tensor.dtype}"
            )
        if len(tensor) != batch:
            raise self._wrong(f"sends {len(tensor)} samples on '{channel.value}' in a batch of {batch}")
        if channel is Channel.SMASHED:
            self._check_labels(labels, batch)
        return message

    def _check_labels(self, labels: torch.Tensor | None, batch: int) -> None:
        if (labels is None) != self.start.u_shaped:
            raise self._wrong(
                "sends labels in a U-shape" if self.start.u_shaped else "sends smashed data without labels"
            )
        if labels is None:
            return
        if labels.shape != (batch,) or labels.dtype != torch.int64:
            raise self._wrong(f"sends labels {tuple(labels.shape)} of {labels.dtype} in a batch of {batch}")
        if batch and (int(labels.min()) < 0 or int(labels.max()) >= self.start.classes):
            raise self._wrong(f"sends labels outside of 0 to {self.start.classes - 1}")

    def _wrong(self, what: str) -> ScenarioError:
        sends = " and ".join(f"'{channel.value}'" for channel in SENDS[self.start.u_shaped])
        return ScenarioError(
            f"{type(self.attack).__name__}.steps() {what}; an honest client sends {sends} of its batch, each once"
        )

    def memory(self) -> Memory:
        """At the end of the round: what the client finds in its next one."""
        return {path_of(self.attack, self.start.client): self._steps.learned()}

    def records(self) -> dict[tuple[int, int], Tampered]:
        """What the attacks table has of it; nothing where the client took no step."""
        return {(self.number, self.start.client): self._done} if self._done.messages else {}
