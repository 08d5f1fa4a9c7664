"""Attacks in place of a malicious client's split step: adversaries that choose what they train on, and how, step by
step, and learn from one round to the next."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Protocol

import torch

from raysplit.aggregation.attack import Attack
from raysplit.channels.message import StepAddress
from raysplit.memory.memory import State, client_path
from raysplit.parts.contract import answer, contract
from raysplit.protocols.requirements import Requirement, client_and_server, synchrony_is
from raysplit.training.client_step import ClientStep
from raysplit.training.gradient_rules import GradientRule
from raysplit.training.parties import ClientSlot


@dataclass(frozen=True)
class StepStart:
    """What a malicious client knows as its round begins. ``rank``: its own among the malicious. ``input_shape``: of one
    sample as the network sees it, whose values lie between ``low`` and ``high``. ``classes``: that the model tells
    apart. ``learned``: what its ``MaliciousSteps`` returned as ``learned`` when it last trained; empty at first."""

    seed: int
    round: int
    client: int
    rank: int
    input_shape: tuple[int, int, int]
    low: float
    high: float
    classes: int
    u_shaped: bool
    learned: State


class MaliciousSteps(Protocol):
    """One malicious client's split steps in a round."""

    def step(
        self, slot: ClientSlot, x: torch.Tensor, y: torch.Tensor, address: StepAddress, rule: GradientRule | None
    ) -> ClientStep:
        """As an honest step (``SplitStepOf``): a generator that yields the protocol's messages, which are of ``len(y)``
        samples, is sent the answers, and ends with the batch's score. ``slot``: the client portion that it holds, which
        it may change as it likes, though with ``rule=None`` nothing of it is sent on; ``x``, ``y``: the batch that an
        honest client would train on."""
        ...

    def learned(self) -> State:
        """At the end of the round: what it finds in its next one."""
        ...


@contract("an attack on split steps")
class StepAttack(Attack):
    """The contract: a frozen part gives ``threat_model``, whose party is the clients, and ``steps``.

    What such a client has is what a client has: its portion, its data, the messages that it sends and those that it
    gets. It sends the messages that the protocol has, in their order and size, and nothing else; another client's pass
    by it. What it has learned is an entry of the memory, ``path_of(self, client)``, which goes to whoever plays it.
    """

    @answer
    def requires(self) -> tuple[Requirement, ...]:
        return (
            client_and_server(
                "{component} needs clients that each talk to one main server, but the parties of {protocol} form one "
                "site group; use a protocol such as SplitFedV2"
            ),
            synchrony_is(
                "synchronous",
                "buffered",
                otherwise="{component} takes a client's steps one after another, but the server of {protocol} goes on "
                "with smashed data that it kept from earlier rounds; use another protocol, such as SplitFedV2",
            ),
        )

    @abstractmethod
    def steps(self, start: StepStart) -> MaliciousSteps:
        """Of one malicious client in one round."""


def kept_as(attack: StepAttack) -> str:
    """Under which name each of its clients keeps what it has learned."""
    return f"attack/{type(attack).__name__}"


def path_of(attack: StepAttack, client: int) -> str:
    """Where a malicious client keeps what it has learned."""
    return client_path(client, kept_as(attack))
