"""What a user may attach from code: a listener, a hook that remembers, a gradient rule, and a model that fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from raysplit.channels.channel import Channel, Party
from raysplit.channels.hooks import HookStart, MessageHook
from raysplit.channels.message import Message
from raysplit.memory.memory import Memory, State
from raysplit.parts.part import part
from raysplit.training.gradient_rules import BackwardPass
from raysplit.training.optimizers import Gradients
from raysplit.training.parties import ClientSlot
from tests.toys import ToyCnn


@dataclass(frozen=True)
class CollectSmashed(MessageHook):
    """An honest-but-curious main server: it keeps the smashed data and labels of every split step."""

    party: Party = "main_server"
    channels: frozenset[Channel] = frozenset({Channel.SMASHED})

    def observe(self, message: Message, labels: torch.Tensor | None) -> State:
        return {"z": message.tensor} if labels is None else {"z": message.tensor, "y": labels}


@dataclass
class CountMessages(MessageHook):
    """Remembers, from round to round, how many messages have reached the main server."""

    party: Party = "main_server"
    channels: frozenset[Channel] = frozenset({Channel.SMASHED})
    seen: torch.Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))

    def opened(self, start: HookStart) -> CountMessages:
        return CountMessages(seen=start.memory.get("server/count", {}).get("seen", self.seen))

    def observe(self, message: Message, labels: torch.Tensor | None) -> None:
        self.seen = self.seen + 1

    def memory(self) -> Memory:
        return {"server/count": {"seen": self.seen}}


@dataclass(frozen=True)
class Clipped:
    """The mean gradient, no longer than ``norm``."""

    norm: float

    def gradients(self, portion: ClientSlot, batch: BackwardPass) -> Gradients:
        batch.output.backward(batch.received)
        length = torch.stack([g.norm() for g in portion.gradients if g is not None]).norm()
        scale = (self.norm / length).clamp_max(1)
        return [None if g is None else g * scale for g in portion.gradients]


class Broken(nn.Module):
    def forward(self, z: torch.Tensor) -> torch.Tensor:
        heads: Mapping[str, nn.Module] = {"a": nn.Identity()}
        return heads["b"](z) if torch.is_grad_enabled() and len(z) > 2 else z  # two pass, as when it is checked


@part
class BrokenBody(ToyCnn):
    """A model whose server portion asks for what is not there, once it trains."""

    def stages(self) -> list[tuple[str, nn.Module]]:
        return [*super().stages(), ("broken", Broken())]
