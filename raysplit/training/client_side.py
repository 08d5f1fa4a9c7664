"""The clients' half of a round, as one host plays it for the client groups that it was dealt.

``train_unsplit`` is local training of the whole model (FedAvg, centralised). ``play_split_steps`` plays split clients
against a main server behind a ``ServerLink``: in the same process, or across the wire with up to ``ahead`` steps under
way, so that the server seldom waits. Both leave the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch

from raysplit.channels.channel import Channel
from raysplit.channels.hooks import PartyEnd
from raysplit.channels.message import Score, StepAddress
from raysplit.memory.global_state import GlobalState
from raysplit.memory.memory import IN_FLIGHT_OPTIMIZER, IN_FLIGHT_PORTION, OPTIMIZER, PORTION, State, client_path
from raysplit.protocols.outcome import ClientRecord, Outcome
from raysplit.protocols.plan import RoundPlan
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.protocols.split_steps import SplitStep, handover_order
from raysplit.training.client_block import ClientBlock, blocks_of
from raysplit.training.client_step import ClientStep, SplitStepOf, client_step_of, whole_step
from raysplit.training.failures import ClientFailure, failure_of
from raysplit.training.gradient_rules import GradientRule, JudgedGradient
from raysplit.training.links import ServerLink
from raysplit.training.parties import ClientSlot
from raysplit.training.slot_pool import Gathering, RowSink, SlotPool

Batch = Callable[[int, int], tuple[torch.Tensor, torch.Tensor]]
"""(cohort position, step) → x [B, C, H, W], y [B]"""


class HostShare:
    """One host's share of a round under way: slots, gathering and records of the groups that it plays."""

    def __init__(
        self,
        protocol: TrainingProtocol,
        plan: RoundPlan,
        groups: Sequence[int],
        slots: list[ClientSlot],
        start: GlobalState,
        end: PartyEnd,
        rule: GradientRule,
        trained: Callable[[int, torch.Tensor], None] | None = None,
        row_sink: RowSink | None = None,
        malicious_steps: Mapping[int, SplitStepOf] = MappingProxyType({}),
    ) -> None:
        """``end``: the clients' end of the channels. ``rule``: how a client's gradients come about. ``trained``: called
        for every client that has taken its last step, with the portion with which it began. ``row_sink``: where
        finished portions go, if not into the outcome. ``malicious_steps``: client id → what it does with a batch
        instead of what the protocol says."""
        self.protocol, self.plan, self.end, self._trained = protocol, plan, end, trained
        self.rule = JudgedGradient(rule, end) if end.answer_judges else rule
        self._honest_step, self._malicious_steps = client_step_of(protocol), malicious_steps
        self._learner = -1  # the only one that learns, where a client stops when it is handed a portion
        if protocol.published.client_learns == "until_handed_over" and plan.round == 1:
            self._learner = int(handover_order(protocol, plan.seed, 1, len(plan.clients))[0])
        self.positions = sorted(p for group in groups for p in plan.groups[group])
        orders = plan.summing_orders(protocol)
        self.handover = protocol.client_sync == "handover"
        self.slot_pool = SlotPool(slots, self._start, plan.client_lr)
        self.gathering = Gathering({g: orders[g] for g in groups}, torch.from_numpy(plan.weights), plan.rows, row_sink)
        self.traffic = end.traffic
        self.outcome = Outcome()
        self._vector, self._memory = start.client, dict(start.memory)
        self._each_batch = self.handover and protocol.order == "interleaved"
        self._travelling: State | None = None
        self._portion_bytes = self._update_bytes = start.client.numel() * start.client.element_size()
        self._masking_down = 0
        if plan.masked is not None and self._portion_bytes:
            self._update_bytes = plan.masked.up(start.client.numel(), len(plan.clients))
            self._masking_down = plan.masked.down(len(plan.clients))

    def holds(self, position: int) -> torch.Tensor:
        """The portion [d] with which a client begins this round, or goes on."""
        client = int(self.plan.clients[position])
        what = IN_FLIGHT_PORTION if self.plan.resumes(position) else PORTION
        kept = self._memory.get(client_path(client, what))
        return self._vector if kept is None else kept["portion"]

    def _start(self, position: int) -> tuple[torch.Tensor, State | None]:
        plan = self.plan
        client = int(plan.clients[position])
        if plan.resumes(position):
            kept = self._memory.get(client_path(client, OPTIMIZER)) if plan.client_state == "per_client" else None
            return self.holds(position), self._memory.get(client_path(client, IN_FLIGHT_OPTIMIZER), kept)
        if self.protocol.client_sync == "averaging" and not plan.cached(position):
            self._count(Channel.WEIGHTS, self._portion_bytes, more=self._masking_down)
        vector = self.holds(position)
        if plan.client_state == "travels":
            return vector, self._travelling
        if plan.client_state == "per_client":
            return vector, self._memory.get(client_path(client, OPTIMIZER))
        return vector, None

    def ends(self, split_step: SplitStep) -> bool:
        """Whether the client frees its slot after this split step: it was its last of this round, or the portion is
        handed over batch by batch."""
        return self._each_batch or split_step.step == self.plan.until(split_step.position) - 1

    def step_of(self, client: int) -> SplitStepOf:
        """What a client does with a batch."""
        return self._malicious_steps.get(client, self._honest_step)

    def record(self, position: int) -> ClientRecord:
        return self.outcome.records.setdefault(position, ClientRecord())

    def end_split_step(self, split_step: SplitStep, score: Score | None, batch: int) -> None:
        """A client has taken a step on ``batch`` samples; ``score``: of them, None where it is unknown."""
        position = split_step.position
        if score is not None:
            self.record(position).add(score.loss, score.correct, batch)
        if self.ends(split_step):
            end = self.finish if self.plan.finishes(position) else self.suspend
            end(position)

    def finish(self, position: int) -> None:
        """A client's local round is over: its portion goes to the fed server, on to the next client, or stays with
        it."""
        if self._trained is not None:
            self._trained(position, self._vector)
        slot = self.slot_pool.release(position)
        if self.plan.frozen:  # what its forward passes did to BatchNorm's statistics is forgotten too
            if self.handover and not self.plan.cached(position):
                self._count(Channel.HANDOVER, self._portion_bytes)  # it had to get the portion; it changed nothing
            return
        if self.plan.client_state == "per_client":
            path = client_path(int(self.plan.clients[position]), OPTIMIZER)
            self._memory[path] = self.outcome.memory[path] = slot.state()
        if self.handover:
            load = self._portion_bytes
            if self.plan.client_state == "travels":
                self._travelling = slot.state()
                load += sum(tensor.numel() * tensor.element_size() for tensor in self._travelling.values())
            hops = 2 if self.protocol.handover == "central" else 1
            self._count(Channel.HANDOVER, hops * load, messages=hops)
            self._vector = slot.flat.vector.clone()
            return
        if position >= self.plan.reporting and self.protocol.client_sync != "personal":
            return  # lost on the way to the fed server
        if self.protocol.client_sync == "averaging":
            self._count(Channel.UPDATES, self._update_bytes)
        self.gathering.put(position, slot.flat.vector)

    def learns(self, position: int) -> bool:
        """Whether cut gradients move this client's portion."""
        if self.protocol.published.client_learns == "until_handed_over":
            return position == self._learner
        return not self.plan.frozen

    def suspend(self, position: int) -> None:
        """A client's local round goes on in a later round: its portion and optimiser state wait for it."""
        slot = self.slot_pool.release(position)
        client = int(self.plan.clients[position])
        self.outcome.memory[client_path(client, IN_FLIGHT_PORTION)] = {"portion": slot.flat.vector.clone()}
        self.outcome.memory[client_path(client, IN_FLIGHT_OPTIMIZER)] = slot.state()

    def _count(self, channel: Channel, payload: int, messages: int = 1, more: int = 0) -> None:
        """Messages of a portion, with ``more`` bytes beside it; a frozen one is none."""
        if payload:
            self.traffic.count(channel, payload + more, messages=messages)

    def close(self) -> Outcome:
        """The share as an outcome, once all its clients have finished."""
        for position in self.positions:
            if self.plan.waits(position):
                self._count(Channel.WEIGHTS, self._portion_bytes)
        self.outcome.client_sums = self.gathering.sums
        self.outcome.client_rows = self.gathering.rows
        if self.handover or self.plan.frozen:
            self.outcome.client_vector = self._vector
        return self.outcome


def train_unsplit(share: HostShare, batch: Batch) -> None:
    """Every client of the share trains the whole model, block by block."""
    for block in blocks_of(share.positions, share.plan.block_size):
        train_block(share, block, batch)


def train_block(share: HostShare, block: ClientBlock, batch: Batch) -> None:
    """The plain loop over a block's clients and their steps."""
    plan = share.plan
    for position, mask in zip(block.positions, block.mask(plan.steps), strict=True):
        try:
            slot = share.slot_pool.acquire(position)
            record = share.record(position)
            for step in np.flatnonzero(mask).tolist():
                x, y = batch(position, step)
                slot.begin(plan.seed, plan.round, int(plan.clients[position]), step)
                loss, correct = whole_step(slot, x, y, share.rule)
                record.add(loss, correct, len(y))
            share.finish(position)
        except ConnectionError:  # to whoever takes finished portions
            raise
        except Exception as error:
            raise failure_of(plan.round, int(plan.clients[position]), error) from error


class _UnderWay(NamedTuple):
    """A client's step that waits for the main server, the split step that it is, the labels [B] with which it is taken,
    and whether they are not the batch's."""

    step: ClientStep
    split_step: SplitStep
    labels: torch.Tensor
    fake: bool


def play_split_steps(
    share: HostShare, split_steps: Sequence[SplitStep], batch: Batch, link: ServerLink, ahead: int
) -> None:
    """Play split clients through ``split_steps``; at most ``ahead`` of them wait for the server at any time.

    It knows no channel: a client's step says what it sends, and whatever is answered to its client goes back into it.
    """
    under_way: dict[int, _UnderWay] = {}
    position = -1

    def receive() -> None:
        nonlocal position
        message = link.receive()
        position = message.position
        step, split_step, labels, fake = under_way[position]
        share.slot_pool.acquire(position)  # used last
        try:
            answer = step.send(share.end.receives(message, labels))
        except StopIteration as done:
            del under_way[position]
            share.end_split_step(split_step, None if fake else done.value, len(labels))
        else:
            if answer is not None:
                link.send(share.end.sends(answer, labels))

    try:
        for split_step in split_steps:
            while len(under_way) >= ahead or split_step.position in under_way:
                receive()
            position = split_step.position
            x, y = batch(position, split_step.step)
            slot = share.slot_pool.acquire(position, under_way.__contains__)
            # With the batches come their dropout masks: what is sent again is the same.
            drawn_in, client = share.plan.batch_round(position), int(share.plan.clients[position])
            slot.begin(share.plan.seed, drawn_in, client, split_step.step)
            address = StepAddress(share.plan.round, client, split_step.step, position)
            learns = bool(slot.flat.trainable) and share.learns(position)
            labels = share.end.pretended(address, y)
            step = share.step_of(client)(slot, x, labels, address, share.rule if learns else None)
            first = next(step)
            assert first is not None, "a split step begins with a message of the client's"
            message = share.end.sends(first, labels)
            under_way[position] = _UnderWay(step, split_step, labels, labels is not y)
            link.send(message)
        while under_way:
            receive()
    except (ConnectionError, EOFError, ClientFailure):
        raise
    except Exception as error:
        client = int(share.plan.clients[position]) if position >= 0 else -1
        raise failure_of(share.plan.round, client, error) from error
