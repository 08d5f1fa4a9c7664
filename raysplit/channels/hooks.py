"""What acts at a party's end of a channel: honest noise, tampering, detection and observers are all message hooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from raysplit.channels.channel import Channel, Party
from raysplit.channels.message import Message, StepAddress
from raysplit.channels.traffic import Traffic
from raysplit.errors import ScenarioError
from raysplit.memory.memory import Memory, State


@dataclass(frozen=True)
class HookStart:
    """What a hook knows as a round begins. ``classes``: how many labels the model tells apart; ``memory``: what the
    party at whose end it acts remembers, by path, with what the hook itself returned in the round before."""

    seed: int
    round: int
    classes: int
    memory: Memory


class Ruling(NamedTuple):
    """On one split step: whether the server portion steps on it, and what the client gets back."""

    accept: bool
    reply: Message


@dataclass(frozen=True)
class AnsweredStep:
    """A client's split step whose cut gradients have come back. ``labels`` [B]: those with which it was taken.
    ``cut_gradients`` [B, …]: ∂L/∂Z of the mean loss, per sample, as received. ``gradients``: those of the client
    portion that follow from them, one a trainable parameter, in the network's order; None where none reached it."""

    address: StepAddress
    labels: torch.Tensor
    cut_gradients: torch.Tensor
    gradients: Sequence[torch.Tensor | None]


class Snapshot(NamedTuple):
    """A portion, flat [d], its optimiser's state, and the round in which it had these values."""

    vector: torch.Tensor
    state: State
    round: int


Layers = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]
"""A flat portion [d] → its parameters (views) in their own shapes and in the network's order, without buffers."""


@dataclass(frozen=True)
class Observation:
    """What a hook noted of one message; never part of the state. ``hook``: the hook's class."""

    hook: str
    channel: Channel
    round: int
    client: int
    step: int
    position: int
    tensors: State


class MessageHook:
    """Acts at one party's end of named channels: it may change, observe or judge what passes, on every engine.

    A user's hook is a frozen dataclass that declares ``party`` and ``channels`` and overrides what it does; everything
    else is answered here. ``change`` and ``observe`` are called for every message on ``channels`` that leaves the party
    or reaches it, in the order of a client's steps, on whichever host plays the client. Nothing may pass from one
    client to another in it, except at a shared main server, which serves in the planned order everywhere. Hooks at one
    end act one after another: each gets what the one before it made of the message.
    """

    party: Party
    channels: frozenset[Channel]
    judges: bool = False
    """Whether ``judge`` is to be called before the server portion steps."""
    judges_local_rounds: bool = False
    """Whether ``roll_back`` is to be called after each client's last split step of a round."""
    judges_answers: bool = False
    """At the clients' end: whether ``pretended`` and ``judge_answer`` are to be called in every split step."""

    def opened(self, start: HookStart) -> MessageHook:
        """The hook of one round; a hook that remembers returns one that knows ``start.memory``."""
        return self

    def change(self, message: Message, labels: torch.Tensor | None) -> Message:
        """What goes on. It must not write into the message. ``labels`` [B]: the batch's, where the party has them."""
        return message

    def observe(self, message: Message, labels: torch.Tensor | None) -> State | None:
        """What is noted of a message, by names; it is handed back with the round's outcome. None: nothing."""
        return None

    def judge(self, step: Mapping[Channel, Message], reply: Message) -> Ruling:
        """Whether a shared server portion learns from a split step. ``step``: the messages that the main server has
        received for it, by channel; ``reply``: the one that would finish it, with the score where the server has the
        labels; it is not sent yet."""
        return Ruling(True, reply)

    def pretended(self, address: StepAddress, labels: torch.Tensor) -> torch.Tensor:
        """At the clients' end, before a split step: the labels [B] with which the client takes it. ``labels``: the
        batch's; others in their place make it a fake step, which is played and counts as no step of the client's."""
        return labels

    def judge_answer(self, step: AnsweredStep) -> bool:
        """At the clients' end: whether the client portion steps on what came back."""
        return True

    def begin_portion(self, portion: Snapshot, layers: Layers) -> None:
        """The server portion before the round's first split step, where ``judges_local_rounds``."""

    def roll_back(self, position: int, client: int, portion: Snapshot) -> Snapshot | None:
        """The portion to go back to after a client's local round, which left ``portion``; None: it is kept."""
        return None

    def memory(self) -> Memory:
        """At the end of the round: what the hook finds in the next one, under paths of its party's scope."""
        return {}

    def records(self) -> Mapping[str, Mapping[Any, Any]]:
        """At the end of the round: what the hook did, for the tables that know it, by kind."""
        return {}


class PartyEnd:
    """One party's end of its channels in a round: counts what leaves, and takes it and what arrives past the hooks.

    ``crosses``: whether messages of the client at a position cross a channel in this round; others are passed on as
    they are and not counted.
    """

    def __init__(
        self,
        party: Party,
        hooks: Sequence[MessageHook],
        traffic: Traffic,
        crosses: Callable[[Channel, int], bool] = lambda channel, position: True,
    ) -> None:
        self.hooks = tuple(hook for hook in hooks if hook.party == party)
        self.judges = tuple(hook for hook in self.hooks if hook.judges)
        self.round_judges = tuple(hook for hook in self.hooks if hook.judges_local_rounds)
        self.answer_judges = tuple(hook for hook in self.hooks if hook.judges_answers)
        self.traffic = traffic
        self.observations: list[Observation] = []
        self._crosses = crosses
        self._labels: dict[int, torch.Tensor] = {}

    def sends(self, message: Message, labels: torch.Tensor | None = None) -> Message:
        """What leaves. ``labels``: the batch's, where they are not those that came with an earlier message."""
        if not self._crosses(message.channel, message.position):
            return message
        if self.hooks:
            message = self._through(message, labels)
        self.traffic.sent(message)
        return message

    def receives(self, message: Message, labels: torch.Tensor | None = None) -> Message:
        """What the party gets of what arrives."""
        if not self.hooks or not self._crosses(message.channel, message.position):
            return message
        if message.labels is not None:
            self._labels[message.position] = message.labels
        return self._through(message, labels)

    def judge(self, step: Mapping[Channel, Message], reply: Message) -> Ruling:
        """Every detector sees every split step, so that what it remembers does not depend on the others; the first that
        rejects decides what the client gets."""
        ruling = Ruling(True, reply)
        for hook in self.judges:
            hook_ruling = hook.judge(step, reply)
            if ruling.accept and not hook_ruling.accept:
                ruling = hook_ruling
        return ruling

    def pretended(self, address: StepAddress, labels: torch.Tensor) -> torch.Tensor:
        """The labels [B] with which a client takes a split step: the batch's, or those of the first hook that wants
        others."""
        wanted = [hook.pretended(address, labels) for hook in self.answer_judges]
        return next((other for other in wanted if other is not labels), labels)

    def judge_answer(self, step: AnsweredStep) -> bool:
        """Every detector sees every answer; the client portion steps where none of them has anything against it."""
        return all([hook.judge_answer(step) for hook in self.answer_judges])

    def _through(self, message: Message, labels: torch.Tensor | None) -> Message:
        if labels is None:
            labels = self._labels.get(message.position)
        for hook in self.hooks:
            if message.channel not in hook.channels:
                continue
            message = _changed(hook, hook.change(message, labels))
            noted = hook.observe(message, labels)
            if noted is not None:
                self.observations.append(_observation(hook, message, noted))
        return message


def in_order(observations: Sequence[Observation]) -> list[Observation]:
    """By hook, cohort position, step and channel: the same order wherever the parties ran."""
    return sorted(observations, key=lambda o: (o.hook, o.round, o.position, o.step, list(Channel).index(o.channel)))


def _changed(hook: MessageHook, message: object) -> Message:
    if isinstance(message, Message) and isinstance(message.tensor, torch.Tensor):
        return message
    got = f"one of a {type(message.tensor).__name__}" if isinstance(message, Message) else type(message).__name__
    raise ScenarioError(
        f"{type(hook).__name__}.change() must return a Message of a tensor, but it returned {got}; return the message "
        "itself where nothing changes"
    )


def _observation(hook: MessageHook, message: Message, noted: State) -> Observation:
    if not isinstance(noted, Mapping) or not all(isinstance(tensor, torch.Tensor) for tensor in noted.values()):
        raise ScenarioError(f"{type(hook).__name__}.observe() must return tensors by name, or None for nothing")
    copies = {name: tensor.detach().cpu().clone() for name, tensor in noted.items()}
    return Observation(
        type(hook).__name__, message.channel, message.round, message.client, message.step, message.position, copies
    )
