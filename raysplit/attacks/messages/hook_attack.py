"""Attacks that act through a message hook of their own: adversaries that learn from one message to the next."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch

from raysplit.aggregation.attack import Attack
from raysplit.channels.hooks import MessageHook
from raysplit.memory.memory import State
from raysplit.parts.contract import answer, contract
from raysplit.population.population import Population
from raysplit.protocols.requirements import Requirement, client_and_server, server_is, synchrony_is


@dataclass(frozen=True)
class AttackStart:
    """What such an attack knows as a round begins. ``number``: its own among the attacks in force, for its records.
    ``input_shape``, ``classes``, ``inputs``: of the network; ``inputs`` turns stored samples into what it sees. ``open``: the
    scenario's population. ``learned``: what the attack's hook returned under ``path`` in the round before."""

    seed: int
    round: int
    number: int
    input_shape: tuple[int, int, int]
    classes: int
    inputs: Callable[[torch.Tensor], torch.Tensor]
    open: Callable[[], Population]
    learned: State


@contract("an attack through a hook")
class HookAttack(Attack):
    """The contract: a frozen part gives ``threat_model``, whose party is the main server, and ``hook``."""

    @answer
    def requires(self) -> tuple[Requirement, ...]:
        return (
            client_and_server(
                "{component} needs clients that each talk to one main server, but the parties of {protocol} form one "
                "site group; use a protocol such as SplitFedV2"
            ),
            server_is(
                "shared",
                otherwise="{component} learns from one client's messages to the next one's, but the server portions of "
                "{protocol} are replicas that never meet in a round; use a protocol such as SplitFedV2",
            ),
            synchrony_is(
                "synchronous",
                otherwise="{component} learns from messages as they come, but the server of {protocol} goes on with "
                "smashed data of earlier rounds; use another protocol, such as SplitFedV2",
            ),
        )

    @abstractmethod
    def hook(self, start: AttackStart) -> MessageHook:
        """The hook of one round, at the main server's end. What it returns as ``memory`` under ``path_of(self)`` it
        finds as ``learned`` in the next round."""


def path_of(attack: HookAttack) -> str:
    """Where an attack keeps what it has learned."""
    return f"server/attack/{type(attack).__name__}"
