"""A main server that learns honestly and lies to its clients: whichever server it is, its replies are changed as they
leave it."""

from __future__ import annotations

import torch

from raysplit.attacks.messages.tampering import Tampering
from raysplit.channels.channel import Channel, Message
from raysplit.memory.memory import State
from raysplit.protocols.plan import RoundPlan
from raysplit.protocols.split_steps import SplitStep
from raysplit.training.servers.server_side import MainServerSide, Replicas, Reply


class LyingServer:
    """``server`` as clients see it through ``tampering``. Nothing is changed that does not cross (frozen and cached
    rounds)."""

    def __init__(self, server: MainServerSide, plan: RoundPlan, tampering: Tampering) -> None:
        self._server, self._plan, self._tampering = server, plan, tampering
        self._labels: dict[int, torch.Tensor] = {}

    def smashed(self, split_step: SplitStep, z: torch.Tensor, y: torch.Tensor | None) -> list[Reply]:
        if y is not None:
            self._labels[split_step.position] = y
        self._results(Channel.SMASHED, split_step, z, y)
        return self._sent(self._server.smashed(split_step, z, y))

    def feature_gradients(self, split_step: SplitStep, gradient: torch.Tensor) -> list[Reply]:
        self._results(Channel.FEATURE_GRADIENTS, split_step, gradient)
        return self._sent(self._server.feature_gradients(split_step, gradient))

    def shared_result(self) -> tuple[torch.Tensor, State]:
        return self._server.shared_result()

    def replicas(self) -> Replicas:
        return self._server.replicas()

    def _results(
        self, channel: Channel, split_step: SplitStep, tensor: torch.Tensor, y: torch.Tensor | None = None
    ) -> None:
        self._tampering.through(self._message(channel, split_step, tensor, y), y)

    def _sent(self, replies: list[Reply]) -> list[Reply]:
        return [
            reply._replace(tensor=self._through(reply))
            if self._plan.crosses(reply.channel, reply.split_step.position)
            else reply
            for reply in replies
        ]

    def _through(self, reply: Reply) -> torch.Tensor:
        labels = self._labels.get(reply.split_step.position)
        return self._tampering.through(self._message(reply.channel, reply.split_step, reply.tensor), labels).tensor

    def _message(
        self, channel: Channel, split_step: SplitStep, tensor: torch.Tensor, y: torch.Tensor | None = None
    ) -> Message:
        return Message(
            channel, self._plan.round, int(self._plan.clients[split_step.position]), split_step.step, tensor, y
        )
