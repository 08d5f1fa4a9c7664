"""A main server that learns honestly and lies to its clients: whichever server it is, its replies are changed as they leave it."""

from __future__ import annotations

import torch

from raysplit.attacks.smashed.tampering import Tampering
from raysplit.channels import Channel, Message
from raysplit.optimizers import State
from raysplit.protocols.plan import RoundPlan
from raysplit.protocols.server_side import MainServerSide, Replicas, Reply
from raysplit.protocols.visits import Visit


class LyingServer:
    """``server`` as clients see it through ``tampering``. Nothing is changed that does not cross (frozen and cached rounds)."""

    def __init__(self, server: MainServerSide, plan: RoundPlan, tampering: Tampering) -> None:
        self._server, self._plan, self._tampering = server, plan, tampering
        self._labels: dict[int, torch.Tensor] = {}

    def smashed(self, visit: Visit, z: torch.Tensor, y: torch.Tensor | None) -> list[Reply]:
        if y is not None:
            self._labels[visit.position] = y
        self._heard(Channel.SMASHED, visit, z, y)
        return self._sent(self._server.smashed(visit, z, y))

    def feature_gradients(self, visit: Visit, gradient: torch.Tensor) -> list[Reply]:
        self._heard(Channel.FEATURE_GRADIENTS, visit, gradient)
        return self._sent(self._server.feature_gradients(visit, gradient))

    def shared_result(self) -> tuple[torch.Tensor, State]:
        return self._server.shared_result()

    def replicas(self) -> Replicas:
        return self._server.replicas()

    def _heard(self, channel: Channel, visit: Visit, tensor: torch.Tensor, y: torch.Tensor | None = None) -> None:
        self._tampering.through(self._message(channel, visit, tensor, y), y)

    def _sent(self, replies: list[Reply]) -> list[Reply]:
        return [
            reply._replace(tensor=self._through(reply))
            if self._plan.crosses(reply.channel, reply.visit.position)
            else reply
            for reply in replies
        ]

    def _through(self, reply: Reply) -> torch.Tensor:
        labels = self._labels.get(reply.visit.position)
        return self._tampering.through(self._message(reply.channel, reply.visit, reply.tensor), labels).tensor

    def _message(self, channel: Channel, visit: Visit, tensor: torch.Tensor, y: torch.Tensor | None = None) -> Message:
        return Message(channel, self._plan.round, int(self._plan.clients[visit.position]), visit.step, tensor, y)
