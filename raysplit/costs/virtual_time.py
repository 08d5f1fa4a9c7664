"""The wall clock of a round as the imagined devices would show it: a small event simulation of the protocol's
dependencies.

From FLOPs, bytes and ``Devices`` alone; nothing is measured, so every machine and every engine gets the same seconds.
The rules:

- A message takes both ends' latencies and its bytes over the slower of the sender's ``up`` and the receiver's ``down``.
  Servers' links are rates of each connection: clients do not crowd each other out. Labels travel with the smashed data.
- A client does one thing at a time: it computes, sends and waits for the answer, batch by batch.
- One shared server portion serves split steps one by one in the plan's order, and a U-shaped split step holds it until
  its second half is done. Replicas, and a portion that stays fixed while many use it, are served first come, first
  served, ``replicas_at_once`` side by side; between the halves of a split step others go on.
- Averaging starts when the last portion is there: client portions at the fed server, replicas at the main server (which
  no network crosses), side by side. Robust rules are charged as the mean.
- Hand-over by a store: every client loads the portion and stores it again. Peer to peer: a hop is charged once, from
  its sender to its receiver, and the last client's goes to the first of the ring.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raysplit.channels.message import LABEL_BYTES
from raysplit.costs.flops import averaging_flops, server_passes
from raysplit.costs.portions import CutCosts
from raysplit.costs.traffic import batch_sizes, handover_hops, hands_over_each_batch
from raysplit.protocols.plan import RoundPlan
from raysplit.protocols.split_steps import completion_order
from raysplit.scenario.devices import DeviceProfile, Devices, foreseeable
from raysplit.scenario.scenario import Scenario


@dataclass(frozen=True)
class ClientTime:
    """Seconds of a client's round: receiving, computing, waiting (for its place in the order and for the server) and
    sending, which add up to ``finish_s``, the time from the round's start until its last message has arrived.
    """

    down_s: float
    compute_s: float
    wait_s: float
    up_s: float
    finish_s: float


@dataclass(frozen=True)
class RoundTime:
    """``clients`` in cohort order; ``client_averaging_s`` and ``server_averaging_s`` begin after the last report and
    after the server's last step ``server_s``.
    """

    clients: tuple[ClientTime, ...]
    server_s: float
    client_averaging_s: float
    server_averaging_s: float

    @property
    def last_report_s(self) -> float:
        return max((client.finish_s for client in self.clients), default=0.0)

    def round_s(self, closes: float | None = None) -> float:
        """When the round is over; ``closes``: when the server stops waiting for reports (None: with the last)."""
        reports = self.last_report_s if closes is None else closes
        return max(reports + self.client_averaging_s, self.server_s + self.server_averaging_s)


def transfer_s(payload: float, sender: DeviceProfile, receiver: DeviceProfile) -> float:
    """Seconds of one message of ``payload`` bytes."""
    return sender.latency + receiver.latency + payload / min(sender.up, receiver.down)


class _Client:
    """A client's own clock, and what it spent its time on."""

    def __init__(self, profile: DeviceProfile, batches: np.ndarray) -> None:
        self.profile, self.batches = profile, batches
        self.now = self.down = self.compute = self.wait = self.up = 0.0

    def receives(self, payload: float, sender: DeviceProfile, since: float) -> None:
        """A message that was sent at ``since``; until then it waited."""
        self.waits_until(since)
        seconds = transfer_s(payload, sender, self.profile)
        self.down += seconds
        self.now += seconds

    def computes(self, flops: float) -> None:
        self.compute += flops / self.profile.flops
        self.now += flops / self.profile.flops

    def sends(self, payload: float, receiver: DeviceProfile) -> float:
        """When it arrives."""
        seconds = transfer_s(payload, self.profile, receiver)
        self.up += seconds
        self.now += seconds
        return self.now

    def waits_until(self, when: float) -> None:
        if when > self.now:
            self.wait += when - self.now
            self.now = when

    def time(self) -> ClientTime:
        return ClientTime(self.down, self.compute, self.wait, self.up, self.now)


def round_time(
    scenario: Scenario, plan: RoundPlan, costs: CutCosts, devices: Devices, profiles: Sequence[DeviceProfile]
) -> RoundTime:
    """The virtual time of the round that ``plan`` describes; ``profiles``: the clients' machines in cohort order.

    Raises ``ScenarioError`` for a protocol whose dependencies it does not know.
    """
    for requirement in foreseeable("virtual time"):
        requirement.check(scenario.protocol, scenario.setting)
    training, protocol = scenario.training, scenario.protocol
    clients = [
        _Client(profile, batch_sizes(int(n), training.batching, training.local_epochs))
        for profile, n in zip(profiles, plan.samples, strict=True)
    ]
    if not clients:
        return RoundTime((), 0.0, 0.0, 0.0)
    client_sync: str = protocol.client_sync
    exchange = _Exchange(costs, devices, protocol.u_shaped, portions_move=client_sync == "averaging")
    match client_sync, protocol.server, protocol.server_step:
        case "one_party", _, _:
            return _one_party(clients[0], costs, devices)
        case _, "none", _:
            server_s = _unsplit(clients, costs, devices)
        case "handover", _, _:
            server_s = _chain(exchange, clients, scenario, plan)
        case _, "shared", "split_step":
            server_s = _shared(exchange, clients, scenario, plan)
        case _, _, server_step:
            server_s = _side_by_side(exchange, clients, server_step, server_passes(protocol))
    averaging = averaging_flops(len(clients), costs.client_floats) if protocol.client_sync == "averaging" else 0.0
    replicas = averaging_flops(len(clients), costs.body.floats) if protocol.server == "replicas" else 0.0
    return RoundTime(
        tuple(client.time() for client in clients),
        server_s,
        averaging / devices.fed_server.flops,
        replicas / devices.server.flops,
    )


def _one_party(client: _Client, costs: CutCosts, devices: Devices) -> RoundTime:
    """The party that has all data is the main server's machine."""
    party = _Client(devices.server, client.batches)
    party.computes(float(client.batches.sum()) * costs.head.step)
    return RoundTime((party.time(),), 0.0, 0.0, 0.0)


def _unsplit(clients: list[_Client], costs: CutCosts, devices: Devices) -> float:
    for client in clients:
        client.receives(costs.client_bytes, devices.fed_server, 0.0)
        client.computes(float(client.batches.sum()) * costs.head.step)
        client.sends(costs.client_bytes, devices.fed_server)
    return 0.0


class _Exchange:
    """The two halves of a split step, as far as clocks go. Not U-shaped there is one half: smashed data in, cut
    gradients out."""

    def __init__(self, costs: CutCosts, devices: Devices, u_shaped: bool, portions_move: bool) -> None:
        self.costs, self.devices, self.u_shaped = costs, devices, u_shaped
        self._portions_move = portions_move
        self.server = devices.server
        self.last = 1 if u_shaped else 0

    def begins(self, client: _Client) -> None:
        """The client loads its portion, unless it keeps its own."""
        if self._portions_move and self.costs.client_bytes:
            client.receives(self.costs.client_bytes, self.devices.fed_server, 0.0)

    def ends(self, client: _Client) -> None:
        """It reports its portion, unless it keeps its own."""
        if self._portions_move and self.costs.client_bytes:
            client.sends(self.costs.client_bytes, self.devices.fed_server)

    def sends_smashed(self, client: _Client, step: int) -> float:
        """The client's forward pass and its message; returns when that arrives."""
        batch, costs = int(client.batches[step]), self.costs
        client.computes(batch * costs.head.forward)
        labels = 0 if self.u_shaped else LABEL_BYTES
        return client.sends(batch * (costs.smashed_bytes + labels), self.server)

    def served_s(self, client: _Client, step: int, half: int) -> float:
        """Seconds of the server's work on one half of a split step."""
        body = self.costs.body
        work = body.step if not self.u_shaped else (body.forward, body.backward)[half]
        return int(client.batches[step]) * work / self.server.flops

    def answers(self, client: _Client, step: int, half: int, done: float) -> float | None:
        """The reply to a half that the server has done. Returns when the client's next message of this step arrives, or
        None after the last half, when the client has finished the step.
        """
        batch, costs = int(client.batches[step]), self.costs
        if half < self.last:
            size = batch * costs.features * costs.float_bytes
            client.receives(size, self.server, done)
            client.computes(batch * costs.tail.step)
            return client.sends(size, self.server)
        if costs.answered:  # a frozen head waits for nothing
            client.receives(batch * costs.answered * costs.float_bytes, self.server, done)
        client.computes(batch * costs.head.backward)
        return None

    def split_step(self, client: _Client, step: int, arrives: float, free: float) -> float:
        """A whole split step at a shared portion that is free from ``free`` on; returns when it is free again."""
        when: float | None = arrives
        for half in range(self.last + 1):
            assert when is not None
            free = max(free, when) + self.served_s(client, step, half)
            when = self.answers(client, step, half, free)
        return free


def _side_by_side(exchange: _Exchange, clients: list[_Client], server_step: str, passes: int) -> float:
    """Split steps that do not depend on each other, served in order of arrival, ties in cohort order: to replicas, or
    to one portion that stays fixed meanwhile.

    ``server_step="step"``: nobody's next batch is served before everybody's last one; ``"mean_gradients"``: nor is it
    answered before. ``"server_first"``: a step is served when all of it is there, in ``passes`` passes one after
    another, and then answered.
    """
    free = [0.0] * min(exchange.devices.replicas_at_once or len(clients), len(clients))
    queue: list[tuple[float, int, int, int]] = []  # arrival, position, step, half
    for position, client in enumerate(clients):
        exchange.begins(client)
        heapq.heappush(queue, (exchange.sends_smashed(client, 0), position, 0, 0))
    in_step = server_step in ("step", "mean_gradients", "server_first")
    missing = [sum(len(client.batches) > step for client in clients) for step in range(int(max(map(_steps, clients))))]
    early: list[tuple[float, int, int, int]] = []  # of the next step
    unanswered: list[int] = []
    now = last = held_s = 0.0
    current = 0

    def answer(position: int, step: int, half: int, done: float) -> None:
        client = clients[position]
        again = exchange.answers(client, step, half, done)
        if again is not None:
            heapq.heappush(queue, (again, position, step, half + 1))
        elif step + 1 < len(client.batches):
            heapq.heappush(queue, (exchange.sends_smashed(client, step + 1), position, step + 1, 0))
        else:
            exchange.ends(client)

    while queue:
        arrived, position, step, half = heapq.heappop(queue)
        if in_step and step > current:
            early.append((arrived, position, step, half))
            continue
        served_s = exchange.served_s(clients[position], step, half)
        if server_step == "server_first":
            held_s += passes * served_s
            last = max(last, arrived)
        else:
            done = max(arrived, now, heapq.heappop(free)) + served_s
            heapq.heappush(free, done)
            last = max(last, done)
        if server_step in ("mean_gradients", "server_first"):
            unanswered.append(position)
        else:
            answer(position, step, half, done)
        if in_step and half == exchange.last:
            missing[step] -= 1
            if missing[step] == 0:
                last, held_s = last + held_s, 0.0
                for waiting in unanswered:
                    answer(waiting, step, half, last)
                for split_step in early:
                    heapq.heappush(queue, split_step)
                now, current, unanswered, early = last, current + 1, [], []
    return last


def _steps(client: _Client) -> int:
    return len(client.batches)


def _shared(exchange: _Exchange, clients: list[_Client], scenario: Scenario, plan: RoundPlan) -> float:
    """Clients side by side, one shared portion in the plan's order. A client has its next smashed data ready before it
    is served."""
    arrives = {}
    for position, client in enumerate(clients):
        exchange.begins(client)
        arrives[position] = exchange.sends_smashed(client, 0)
    free = 0.0
    for position, step in plan.split_steps(scenario.protocol):
        client = clients[position]
        free = exchange.split_step(client, step, arrives[position], free)
        if step + 1 < len(client.batches):
            arrives[position] = exchange.sends_smashed(client, step + 1)
        else:
            exchange.ends(client)
    return free


def _local_rounds(scenario: Scenario, plan: RoundPlan) -> list[tuple[int, list[int]]]:
    """Who has the portion when, and takes which steps with it."""
    split_steps = plan.split_steps(scenario.protocol)
    if hands_over_each_batch(scenario.protocol):
        return [(split_step.position, [split_step.step]) for split_step in split_steps]
    return [(int(p), list(range(int(plan.steps[p])))) for p in completion_order(split_steps)]


def _chain(exchange: _Exchange, clients: list[_Client], scenario: Scenario, plan: RoundPlan) -> float:
    """One client after another, each from the portion of the one before it."""
    store, load = exchange.devices.fed_server, exchange.costs.handover_bytes
    central = handover_hops(scenario) == 2
    local_rounds = _local_rounds(scenario, plan)
    now = free = 0.0
    for place, (position, steps) in enumerate(local_rounds):
        client, after = clients[position], clients[local_rounds[(place + 1) % len(local_rounds)][0]]
        if central:
            client.receives(load, store, now)
        elif place > 0:
            # The hop's seconds are the sender's ``up_s`` and the receiver's ``down_s``: they are the same ones.
            before = clients[local_rounds[place - 1][0]].profile
            if local_rounds[place - 1][0] != position:
                client.receives(load, before, now - transfer_s(load, before, client.profile))
        for step in steps:
            free = exchange.split_step(client, step, exchange.sends_smashed(client, step), free)
        now = client.sends(load, store if central else after.profile)
    return free
