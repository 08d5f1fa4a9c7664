"""What an honest-but-curious adversary writes down while a scenario trains: the material of inference attacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from raysplit.channels.channel import Channel, Party
from raysplit.channels.hooks import MessageHook
from raysplit.channels.message import Message
from raysplit.errors import ScenarioError
from raysplit.memory.memory import State
from raysplit.parts.part import part
from raysplit.protocols.requirements import Requirement, client_and_server, has_channel

SplitChannel = Literal["smashed", "cut_gradients", "features", "feature_gradients"]
"""The channels between a client and the main server on which every sample has a row of its own."""


@part
class Observe:
    """What ``party`` keeps of the messages on ``channels`` in ``rounds`` (from 1), for ``raysplit infer``.

    ``clients``: whose split steps, by id; None: everybody's who is sampled. ``max_samples``: of a client's local round,
    so many samples on each channel, the first ones. Labels are kept beside smashed data that bring them. Observing
    changes no bit of a run; files go to the run's ``observations`` folder, and what the samples really were is never
    written: it is drawn again from the run's named streams.
    """

    rounds: tuple[int, ...]
    channels: tuple[SplitChannel, ...] = ("smashed",)
    clients: tuple[int, ...] | None = None
    max_samples: int = 64
    party: Literal["main_server", "clients"] = "main_server"

    def __post_init__(self) -> None:
        if not self.rounds or not self.channels:
            empty = "rounds" if not self.rounds else "channels"
            raise ScenarioError(f"Observe.{empty} is empty, so nothing would be kept; name one at least")
        if min(self.rounds) < 1 or self.max_samples < 1:
            raise ScenarioError(
                f"Observe counts rounds and max_samples from 1, but they are {self.rounds} and {self.max_samples}"
            )

    @property
    def requires(self) -> Iterator[Requirement]:
        """What must hold of a scenario that observes."""
        yield client_and_server(
            "Observe watches clients that each talk to one main server, but the parties of {protocol} form one site "
            "group; use a protocol such as SplitFedV2"
        )
        for name in self.channels:
            yield has_channel(
                Channel(name),
                f"Observe.channels names '{name}', which {{protocol}} does not have; its channels are "
                "{setting.channels}",
            )


@dataclass(frozen=True)
class ObservationHook(MessageHook):
    """Keeps what ``Observe`` asks for. ``batch_size``: the clients', None where a batch is a whole training set."""

    party: Party
    channels: frozenset[Channel]
    clients: frozenset[int] | None
    max_samples: int
    batch_size: int | None

    @staticmethod
    def of(observe: Observe, batch_size: int | None) -> ObservationHook:
        clients = None if observe.clients is None else frozenset(observe.clients)
        channels = frozenset(Channel(name) for name in observe.channels)
        return ObservationHook(observe.party, channels, clients, observe.max_samples, batch_size)

    def observe(self, message: Message, labels: torch.Tensor | None) -> State | None:
        """The first rows of the message, and of its labels where it is smashed data and they are known."""
        if self.clients is not None and message.client not in self.clients:
            return None
        before = message.step * (len(message.tensor) if self.batch_size is None else self.batch_size)
        room = self.max_samples - before
        if room <= 0:
            return None
        noted = {"tensor": message.tensor[:room]}
        if message.channel is Channel.SMASHED and labels is not None:
            noted["labels"] = labels[:room]
        return noted
