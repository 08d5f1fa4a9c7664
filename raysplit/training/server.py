"""What plays the main server in a round, and how a message is taken to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch

from raysplit.channels.hooks import PartyEnd
from raysplit.channels.message import Message
from raysplit.memory.memory import Memory
from raysplit.protocols.split_steps import SplitStep
from raysplit.training.failures import ClientFailure, failure_of


@dataclass
class ServerResult:
    """What a main server hands back at the end of a round.

    One shared portion, or the average of replicas that outlive the round, is ``vector`` [d]. Replicas that are averaged
    come as weighted ``sums`` by client group or as ``rows`` by cohort position, [d] each. ``memory``: what the main
    server finds in the next round, such as its optimiser's state.
    """

    vector: torch.Tensor | None = None
    sums: dict[int, torch.Tensor] = field(default_factory=dict)
    rows: dict[int, torch.Tensor] = field(default_factory=dict)
    memory: Memory = field(default_factory=dict)


class MainServer(Protocol):
    def handle(self, message: Message) -> list[Message]:
        """The messages that are due once ``message`` has come, to whichever clients."""
        ...

    def result(self) -> ServerResult:
        """After the round's last message."""
        ...

    def last_portion(self) -> torch.Tensor:
        """The server portion [d] that belongs to the client of the last finished split step; valid until the next."""
        ...


def serve(server: MainServer, end: PartyEnd, message: Message) -> list[Message]:
    """Take a message to the main server, past the hooks at its ``end``; what leaves it then.

    Raises ``ClientFailure`` for whatever goes wrong there.
    """
    try:
        return [end.sends(reply) for reply in server.handle(end.receives(message))]
    except (ConnectionError, ClientFailure):
        raise
    except Exception as error:
        raise failure_of(message.round, message.client, error, "main server") from error


def split_step_of(message: Message) -> SplitStep:
    """The split step to which a message belongs."""
    return SplitStep(message.position, message.step)
