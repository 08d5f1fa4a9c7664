"""The bytes of a round, from sizes alone: what ``channels.arrow`` will say before anything is trained.

Every direction is a channel of its own, so nothing is counted twice or left out: ``weights`` go down and ``updates``
up, ``smashed`` and ``feature_gradients`` up, ``features`` and ``cut_gradients`` down. A central ``handover`` is two
hops, up to the store and down to the next client; a peer-to-peer one is a single hop. ``server_updates`` never leave
the datacentre.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from raysplit.channels.channel import Channel
from raysplit.channels.message import LABEL_BYTES
from raysplit.costs.portions import CutCosts, cut_costs
from raysplit.protocols.batching import Batching
from raysplit.protocols.plan import RoundPlan
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.scenario.devices import foreseeable
from raysplit.scenario.scenario import Scenario


class ChannelBytes(NamedTuple):
    """A round on one channel: ``messages``; ``tensors`` and ``labels`` in bytes, apart as the papers keep them."""

    messages: int
    tensors: int
    labels: int = 0


class ClientBytes(NamedTuple):
    """What one client sends (``up``) and receives (``down``) in a round, in bytes, labels included."""

    up: int
    down: int


def predicted_bytes(scenario: Scenario, plan: RoundPlan, costs: CutCosts | None = None) -> dict[Channel, ChannelBytes]:
    """Every channel of the round that ``plan`` describes (``simulation.make_plan``), exactly as it will be counted.

    Holds as long as every parameter of the client portion gets a gradient, where optimiser state travels. Raises
    ``ScenarioError`` for a protocol whose traffic depends on more than sizes.
    """
    for requirement in foreseeable("bytes from sizes alone"):
        requirement.check(scenario.protocol, scenario.setting)
    costs = costs or cut_costs(scenario)
    protocol, clients, steps = scenario.protocol, len(plan.clients), int(plan.steps.sum())
    seen = int(samples_seen(scenario, plan).sum())
    reporting = clients - plan.lost  # portions that get lost on their way are not counted
    found: dict[Channel, ChannelBytes] = {}
    if protocol.client_sync == "averaging" and costs.client_bytes:
        up, down = portion_bytes(plan, costs)
        found[Channel.WEIGHTS] = ChannelBytes(clients, clients * down)
        found[Channel.UPDATES] = ChannelBytes(reporting, reporting * up)
    if protocol.server != "none":
        smashed = seen * costs.smashed_bytes
        labels = 0 if protocol.u_shaped else seen * LABEL_BYTES
        found[Channel.SMASHED] = ChannelBytes(steps, smashed, labels)
        if costs.answered:
            found[Channel.CUT_GRADIENTS] = ChannelBytes(steps, seen * costs.answered * costs.float_bytes)
        if protocol.u_shaped:
            second = ChannelBytes(steps, seen * costs.features * costs.float_bytes)
            found |= {Channel.FEATURES: second, Channel.FEATURE_GRADIENTS: second}
    if protocol.client_sync == "handover" and costs.handover_bytes:
        hops = int(handovers(scenario, plan).sum()) * handover_hops(scenario)
        found[Channel.HANDOVER] = ChannelBytes(hops, hops * costs.handover_bytes)
    if protocol.server == "replicas" and costs.server_bytes:
        found[Channel.SERVER_UPDATES] = ChannelBytes(reporting, reporting * costs.server_bytes)
    return found


def client_bytes(scenario: Scenario, plan: RoundPlan, costs: CutCosts | None = None) -> list[ClientBytes]:
    """What each client sends and receives, in cohort order; their sum is every channel but ``server_updates``.

    A peer-to-peer hop is sent by one client and received by another, so it is counted with both.
    """
    costs = costs or cut_costs(scenario)
    protocol = scenario.protocol
    load = {"averaging": portion_bytes(plan, costs), "handover": 2 * (costs.handover_bytes,)}
    up, down = load.get(protocol.client_sync, (0, 0))
    labels = 0 if protocol.u_shaped or protocol.server == "none" else LABEL_BYTES
    sent = costs.smashed_bytes + costs.features * costs.float_bytes
    answers = (costs.answered + costs.features) * costs.float_bytes
    seen = samples_seen(scenario, plan)
    return [
        ClientBytes(int(times) * up + int(n) * (sent + labels), int(times) * down + int(n) * answers)
        for times, n in zip(handovers(scenario, plan), seen, strict=True)
    ]


def portion_bytes(plan: RoundPlan, costs: CutCosts) -> tuple[int, int]:
    """A client portion on its way up and down, with what secure aggregation sends beside it."""
    if plan.masked is None or not costs.client_bytes:
        return costs.client_bytes, costs.client_bytes
    clients = len(plan.clients)
    return plan.masked.up(costs.client_floats, clients), costs.client_bytes + plan.masked.down(clients)


def handovers(scenario: Scenario, plan: RoundPlan) -> np.ndarray:
    """How often each client gets and gives its portion, int64 [n]: once, or once a batch."""
    return plan.steps if hands_over_each_batch(scenario.protocol) else np.ones_like(plan.steps)


def hands_over_each_batch(protocol: TrainingProtocol) -> bool:
    """Whether the client portion is handed over after every batch, and not when a client has taken all of its own."""
    return protocol.client_sync == "handover" and protocol.order == "interleaved"


def handover_hops(scenario: Scenario) -> int:
    """Hops of one hand-over: 2 through a store, 1 from peer to peer."""
    return 2 if scenario.protocol.handover == "central" else 1


def batch_sizes(samples: int, batching: Batching, epochs: int) -> np.ndarray:
    """The size of each batch of a client's round, int64 [steps]; the last of an epoch may be another one."""
    return np.tile(np.array(batching.lengths(samples), dtype=np.int64), epochs)


def samples_seen(scenario: Scenario, plan: RoundPlan) -> np.ndarray:
    """The samples that each client goes over in a round, int64 [n]: all of its own once an epoch, unless the last batch
    is dropped."""
    training = scenario.training
    once = np.array([training.batching.seen(int(n)) for n in plan.samples], dtype=np.int64)
    return once * training.local_epochs
