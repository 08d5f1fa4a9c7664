"""The clients' half of a round, as one host plays it for the client groups that it was dealt.

``train_unsplit`` is local training of the whole model (FedAvg, centralised). ``play_split_steps`` plays split clients
against a main server behind a ``ServerLink``: in the same process, or across the wire with up to ``ahead`` steps under
way, so that the server seldom waits. Both leave the same bits.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch

from raysplit.attacks.messages.message_attack import SENT_BY
from raysplit.attacks.messages.tampering import Tampering
from raysplit.channels.channel import Channel, Message, Tap, Traffic, pass_taps
from raysplit.errors import UserError
from raysplit.protocols.plan import ClientRecord, Outcome, RoundPlan
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.protocols.split_steps import SplitStep, handover_order
from raysplit.training.optimizers import State
from raysplit.training.parties import ClientSlot
from raysplit.training.servers.server_side import MainServerSide, Reply
from raysplit.training.slot_pool import Gathering, RowSink, SlotPool

Batch = Callable[[int, int], tuple[torch.Tensor, torch.Tensor]]
"""(cohort position, step) → x [B, C, H, W], y [B]"""

LABEL_BYTES = 8


class ServerLink(Protocol):
    """A client host's end of the wire to the main server. Each visit is answered; a server that waits answers many at
    once."""

    def send_smashed(self, split_step: SplitStep, z: torch.Tensor, y: torch.Tensor | None) -> None: ...

    def send_feature_gradients(self, split_step: SplitStep, gradient: torch.Tensor) -> None: ...

    def receive(self) -> Reply: ...


class DirectLink:
    """The main server in the same process (``placement="colocated"``)."""

    def __init__(self, server: MainServerSide) -> None:
        self._server = server
        self._replies: deque[Reply] = deque()

    def send_smashed(self, split_step: SplitStep, z: torch.Tensor, y: torch.Tensor | None) -> None:
        self._replies.extend(self._server.smashed(split_step, z, y))

    def send_feature_gradients(self, split_step: SplitStep, gradient: torch.Tensor) -> None:
        self._replies.extend(self._server.feature_gradients(split_step, gradient))

    def receive(self) -> Reply:
        return self._replies.popleft()


class ClientStart(NamedTuple):
    """With what clients begin: the global client portion [d], kept optimiser states, and portions of their own by
    client id."""

    vector: torch.Tensor
    states: dict[int, State]
    portions: dict[int, torch.Tensor]
    in_flight: dict[int, torch.Tensor] = {}  # noqa: RUF012 - never changed
    """client id → the portion [d] with which it goes on, where its turn began in an earlier round"""
    in_flight_states: dict[int, State] = {}  # noqa: RUF012


class ClientFailure(RuntimeError):
    """An exception inside one client's training: whose, where, and the original traceback, which survives the way from
    a host."""

    def __init__(self, round: int, client: int, why: str, trace: str = "", host: str = "this process") -> None:
        super().__init__(round, client, why, trace, host)
        self.round, self.client, self.why, self.trace, self.host = round, client, why, trace, host

    def __str__(self) -> str:
        return f"round {self.round}, client {self.client}, on {self.host}: {self.why}"

    def on(self, host: str) -> ClientFailure:
        """The same failure, saying on which host it happened."""
        return type(self)(self.round, self.client, self.why, self.trace, host)


class ClientMistake(ClientFailure, UserError):
    """A failure that the user can mend, such as an attack of theirs that breaks its contract: ``why`` is a sentence
    that says how."""


class HostShare:
    """One host's share of a round under way: seats, gathering, records and traffic of the groups that it plays."""

    def __init__(
        self,
        protocol: TrainingProtocol,
        plan: RoundPlan,
        groups: Sequence[int],
        slots: list[ClientSlot],
        start: ClientStart,
        taps: tuple[Tap, ...] = (),
        trained: Callable[[int, torch.Tensor], None] | None = None,
        row_sink: RowSink | None = None,
        tampering: Tampering | None = None,
    ) -> None:
        """``trained``: told of every client that has taken its last step, with the portion with which it began.
        ``row_sink``: where finished portions go, if not into the outcome. ``tampering``: what malicious clients do to
        their messages."""
        self.protocol, self.plan, self.taps, self._trained = protocol, plan, taps, trained
        self._tampering = tampering
        self._learner = -1  # the only one that learns, where a client stops when it is handed a portion
        if protocol.published.client_learns == "until_handed_over" and plan.round == 1:
            self._learner = int(handover_order(protocol, plan.seed, 1, len(plan.clients))[0])
        self.positions = sorted(p for group in groups for p in plan.groups[group])
        orders = plan.summing_orders(protocol)
        self.handover = protocol.client_sync == "handover"
        self.slot_pool = SlotPool(slots, self._start, plan.client_lr)
        self.gathering = Gathering({g: orders[g] for g in groups}, torch.from_numpy(plan.weights), plan.rows, row_sink)
        self.traffic = Traffic()
        self.outcome = Outcome.empty()
        self._vector, states, self._portions, self._in_flight, self._in_flight_states = start
        self._states = dict(states)
        self._each_batch = self.handover and protocol.order == "interleaved"
        self._travelling: State | None = None
        self._portion_bytes = start.vector.numel() * start.vector.element_size()

    def holds(self, position: int) -> torch.Tensor:
        """The portion [d] with which a client begins this round, or goes on."""
        client = int(self.plan.clients[position])
        return self._in_flight[client] if self.plan.resumes(position) else self._portions.get(client, self._vector)

    def _start(self, position: int) -> tuple[torch.Tensor, State | None]:
        plan = self.plan
        client = int(plan.clients[position])
        if plan.resumes(position):
            kept = self._states.get(client) if plan.client_state == "per_client" else None
            return self.holds(position), self._in_flight_states.get(client, kept)
        if self.protocol.client_sync == "averaging" and not plan.cached(position):
            self.traffic.count(Channel.WEIGHTS, self._portion_bytes)
        vector = self.holds(position)
        if plan.client_state == "travels":
            return vector, self._travelling
        if plan.client_state == "per_client":
            return vector, self._states.get(client)
        return vector, None

    def ends(self, split_step: SplitStep) -> bool:
        """Whether the client gets up after this visit: it was its last of this round, or the portion is handed over
        batch by batch."""
        return self._each_batch or split_step.step == self.plan.until(split_step.position) - 1

    def record(self, position: int) -> ClientRecord:
        return self.outcome.records.setdefault(position, ClientRecord())

    def finish(self, position: int) -> None:
        """A client's turn is over: its portion goes to the fed server, on to the next client, or stays with it."""
        if self._trained is not None:
            self._trained(position, self._vector)
        slot = self.slot_pool.leave(position)
        if self.plan.frozen:  # what its forward passes did to BatchNorm's statistics is forgotten too
            if self.handover and not self.plan.cached(position):
                self.traffic.count(
                    Channel.HANDOVER, self._portion_bytes
                )  # it had to get the portion; it changed nothing
            return
        if self.plan.client_state == "per_client":
            client = int(self.plan.clients[position])
            self._states[client] = self.outcome.client_states[client] = slot.state()
        if self.handover:
            load = self._portion_bytes
            if self.plan.client_state == "travels":
                self._travelling = slot.state()
                load += sum(tensor.numel() * tensor.element_size() for tensor in self._travelling.values())
            hops = 2 if self.protocol.handover == "central" else 1
            self.traffic.count(Channel.HANDOVER, hops * load, messages=hops)
            self._vector = slot.flat.vector.clone()
            return
        if position >= self.plan.reporting and self.protocol.client_sync != "personal":
            return  # lost on the way to the fed server
        if self.protocol.client_sync == "averaging":
            self.traffic.count(Channel.UPDATES, self._portion_bytes)
        self.gathering.put(position, slot.flat.vector)

    def learns(self, position: int) -> bool:
        """Whether cut gradients move this client's portion."""
        if self.protocol.published.client_learns == "until_handed_over":
            return position == self._learner
        return not self.plan.frozen

    def suspend(self, position: int) -> None:
        """A client's turn goes on in a later round: its portion and optimiser state wait for it."""
        slot = self.slot_pool.leave(position)
        client = int(self.plan.clients[position])
        self.outcome.in_flight[client] = slot.flat.vector.clone()
        self.outcome.in_flight_states[client] = slot.state()

    def close(self) -> Outcome:
        """The share as an outcome, once all its clients have finished."""
        for position in self.positions:
            if self.plan.waits(position):
                self.traffic.count(Channel.WEIGHTS, self._portion_bytes)
        self.outcome.client_sums = self.gathering.sums
        self.outcome.client_rows = self.gathering.rows
        if self._tampering is not None:
            self.outcome.tampered = self._tampering.records
        if self.handover or self.plan.frozen:
            self.outcome.client_vector = self._vector
        for channel in self.traffic.messages:
            counts = (self.traffic.messages[channel], self.traffic.bytes[channel], self.traffic.label_bytes[channel])
            self.outcome.traffic[channel.value] = counts
        return self.outcome

    def through(
        self,
        channel: Channel,
        split_step: SplitStep,
        tensor: torch.Tensor,
        y: torch.Tensor | None = None,
        truth: torch.Tensor | None = None,
    ) -> Message:
        """Count a message between a client and the main server and let it through the taps. ``y``: labels that travel
        with it.

        What a malicious client sends is changed before it is on the wire, and it hears what it gets. ``truth``: the
        batch's labels.
        """
        message = Message(
            channel, self.plan.round, int(self.plan.clients[split_step.position]), split_step.step, tensor, y
        )
        if not self.plan.crosses(channel, split_step.position):
            return message
        labels = 0 if y is None else y.numel() * LABEL_BYTES
        self.traffic.count(channel, tensor.numel() * tensor.element_size(), labels)
        if self._tampering is None:
            return pass_taps(self.taps, message)
        if channel in SENT_BY["clients"]:
            return pass_taps(self.taps, self._tampering.through(message, truth))
        return self._tampering.through(pass_taps(self.taps, message), truth)


def train_unsplit(share: HostShare, batch: Batch) -> None:
    """Every client of the share trains the whole model, one after another."""
    for position in share.positions:
        try:
            slot = share.slot_pool.acquire(position)
            record = share.record(position)
            for step in range(int(share.plan.steps[position])):
                x, y = batch(position, step)
                slot.begin(share.plan.seed, share.plan.round, int(share.plan.clients[position]), step)
                loss, correct = slot.whole_step(x, y)
                record.add(loss, correct, len(y))
            share.finish(position)
        except ConnectionError:  # to whoever takes finished portions
            raise
        except Exception as error:
            raise failure_of(share, position, error) from error


def play_split_steps(
    share: HostShare, split_steps: Sequence[SplitStep], batch: Batch, link: ServerLink, ahead: int
) -> None:
    """Play split clients through ``split_steps``; at most ``ahead`` of them wait for the server at any time."""
    under_way: deque[SplitStep] = deque()
    labels: dict[int, torch.Tensor] = {}
    busy: set[int] = set()
    u_shaped = share.protocol.u_shaped
    position = -1

    def receive() -> None:
        nonlocal position
        reply = link.receive()
        split_step = reply.split_step
        position = split_step.position
        slot = share.slot_pool.acquire(split_step.position)
        message = share.through(reply.channel, split_step, reply.tensor, truth=labels[split_step.position])
        if reply.channel is Channel.FEATURES:
            y = labels[split_step.position]
            gradient, score = slot.tail_step(message.tensor, y)
            share.record(split_step.position).add(score.loss, score.correct, len(y))
            sent = share.through(Channel.FEATURE_GRADIENTS, split_step, gradient, truth=y)
            link.send_feature_gradients(split_step, sent.tensor)
            return
        if share.learns(split_step.position):
            slot.backward(message.tensor)
        else:
            slot.discard()
        y = labels.pop(split_step.position)
        if reply.score is not None:
            share.record(split_step.position).add(reply.score.loss, reply.score.correct, len(y))
        under_way.remove(split_step)
        busy.discard(split_step.position)
        if share.ends(split_step):
            end = share.finish if share.plan.finishes(split_step.position) else share.suspend
            end(split_step.position)

    try:
        for split_step in split_steps:
            while len(under_way) >= ahead or split_step.position in busy:
                receive()
            position = split_step.position
            x, y = batch(split_step.position, split_step.step)
            slot = share.slot_pool.acquire(split_step.position, busy.__contains__)
            drawn_in = share.plan.batch_round(
                position
            )  # with the batches come their masks: what is sent again is the same
            slot.begin(share.plan.seed, drawn_in, int(share.plan.clients[position]), split_step.step)
            z = slot.forward(x)
            message = share.through(Channel.SMASHED, split_step, z, None if u_shaped else y, truth=y)
            link.send_smashed(split_step, message.tensor, message.labels)
            labels[split_step.position] = y
            busy.add(split_step.position)
            under_way.append(split_step)
        while under_way:
            receive()
    except (ConnectionError, EOFError):
        raise
    except Exception as error:
        raise failure_of(share, position, error) from error


def failure_of(share: HostShare, position: int, error: Exception) -> ClientFailure:
    """What went wrong at the client at ``position``, for whoever reads it elsewhere."""
    client = int(share.plan.clients[position]) if position >= 0 else -1
    if isinstance(error, UserError):
        return ClientMistake(share.plan.round, client, str(error), traceback.format_exc())
    return ClientFailure(share.plan.round, client, f"{type(error).__name__}: {error}", traceback.format_exc())
