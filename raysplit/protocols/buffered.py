"""Buffered asynchronous SplitFed: the fed server does not wait for the slowest client.

Of FedBuff (Nguyen et al. 2022, arXiv 2106.06639) the buffer and the staleness weights (1 + s)^−a, of GAS (arXiv
2409.01251) their use in SplitFed: the model buffer of client portions; GAS's second buffer, of activations, is not
built.

As many clients as a cohort holds are under way at any time, each at its own speed. A round is one aggregation: clients
step against the shared server portion in the order of a virtual clock until ``buffer`` of them have finished. Their
portions are averaged with weights n_k (1 + s_k)^−a, brought to a sum of 1, where s_k is how many aggregations a client
has missed since it began. The places that fell free are then filled with clients that begin from the new portion; who
is under way keeps its portion and goes on in the next round. So a client trains from an older global portion while the
server portion is the current one.

The clock of a client: one batch takes 1 / speed, with speed = exp(σ N(0, 1)) drawn once a client from the stream (seed,
"speeds", client). Batches that end at the same moment are served in the order in which SplitFedV2 would serve them:
with equal speeds and ``buffer`` = cohort this is SplitFedV2, bit for bit. Between rounds the portions and optimiser
states of those under way are kept, at most (cohort − buffer) · d_C floats and their states.
"""

from __future__ import annotations

import dataclasses
import heapq
from typing import ClassVar

import numpy as np
import torch

from raysplit import rng
from raysplit.parts.part import part, within
from raysplit.population.selection.cohort import Cohort, SampledCohort, draw
from raysplit.protocols.local_rounds import LocalRounds
from raysplit.protocols.plan import Outcome, RoundPlan
from raysplit.protocols.protocol import (
    ClientState,
    ClientSync,
    Order,
    ServerPortion,
    ServerState,
    Synchrony,
    TrainingProtocol,
)
from raysplit.protocols.split_steps import SplitStep
from raysplit.training.optimizers import State

_CLOCK, _WAY, _DUE = "buffered/clock", "buffered/under_way", "buffered/due"
_PORTION, _STATE = "buffered/portion/", "buffered/state/"


@part
class Speeds:
    """Batches a virtual second: exp(``sigma`` · N(0, 1)), once a client. ``sigma=0``: all alike."""

    sigma: float = 0.0

    def __post_init__(self) -> None:
        within("Speeds.sigma", self.sigma, 0)

    def of(self, seed: int, client: int) -> float:
        if self.sigma == 0:
            return 1.0
        return float(np.exp(self.sigma * rng.stream(seed, "speeds", client).standard_normal()))


@part
class BufferedSplitFed(TrainingProtocol):
    """Asynchronous SplitFedV2 with a buffer; see this module. ``staleness``: the exponent a; FedBuff's is 0.5."""

    buffer: int
    staleness: float = 0.5
    speeds: Speeds = Speeds(1.0)

    synchrony: ClassVar[Synchrony] = "buffered"
    client_sync: ClassVar[ClientSync] = "averaging"
    server: ClassVar[ServerPortion] = "shared"
    order: ClassVar[Order] = "interleaved"
    client_state: ClassVar[ClientState] = "fresh"
    server_state: ClassVar[ServerState] = "persistent"

    def __post_init__(self) -> None:
        within("BufferedSplitFed.buffer", self.buffer, 1)
        within("BufferedSplitFed.staleness", self.staleness, 0)


def refilled(
    cohort: Cohort, seed: int, round: int, ranks: np.ndarray, protocol_state: dict[str, torch.Tensor]
) -> SampledCohort:
    """Who is under way in a round: those of before, and clients drawn for the free places; ascending ids."""
    under_way = protocol_state[_WAY][:, 0].numpy() if _WAY in protocol_state else np.zeros(0, dtype=np.int64)
    everybody = draw(cohort, seed, round, ranks)
    free = cohort.size - len(under_way)
    if not len(under_way):
        return everybody
    most = min(len(ranks), cohort.size + len(under_way))
    candidates = rng.stream(seed, "refill", round).choice(len(ranks), most, replace=False)
    new = candidates[~np.isin(candidates, under_way)][:free]
    clients = np.sort(np.concatenate([under_way, new])).astype(np.int64)
    if cohort.of == "population":
        malicious = ranks[clients] < int(np.rint(cohort.malicious * len(ranks)))
    else:
        malicious = np.zeros(len(clients), dtype=bool)
        malicious[np.argsort(ranks[clients], kind="stable")[: cohort.assumed]] = True
    return SampledCohort(clients, malicious)


def scheduled(protocol: BufferedSplitFed, plan: RoundPlan, protocol_state: dict[str, torch.Tensor]) -> RoundPlan:
    """The plan of the round that ends with the next aggregation."""
    count = len(plan.clients)
    clock = float(protocol_state[_CLOCK]) if _CLOCK in protocol_state else 0.0
    began = np.full(count, plan.round, dtype=np.int64)
    done = np.zeros(count, dtype=np.int64)
    due = np.array([clock + 1 / protocol.speeds.of(plan.seed, int(client)) for client in plan.clients])
    if _WAY in protocol_state:
        place = {int(client): position for position, client in enumerate(plan.clients)}
        for (client, since, taken), moment in zip(
            protocol_state[_WAY].tolist(), protocol_state[_DUE].tolist(), strict=True
        ):
            began[place[client]], done[place[client]], due[place[client]] = since, taken, moment
    until, split_steps, finished = _run(protocol, plan, done, due)
    staleness = plan.round - began[finished]
    worth = plan.samples[finished] * (1.0 + staleness) ** -protocol.staleness
    weights = np.zeros(count)
    weights[finished] = worth / worth.sum()
    local_rounds = LocalRounds(began, done, until, np.zeros(count, dtype=bool), schedule=tuple(split_steps))
    return dataclasses.replace(plan, weights=weights, local_rounds=local_rounds)


def _run(
    protocol: BufferedSplitFed, plan: RoundPlan, done: np.ndarray, due: np.ndarray
) -> tuple[np.ndarray, list[SplitStep], np.ndarray]:
    """Play the clock until the buffer is full: steps reached, all visits in order, and who finished, ascending.

    ``due``: when each client's next batch ends; brought forward in place.
    """
    count = len(plan.clients)
    ranks: dict[int, np.ndarray] = {}

    def turn(position: int, step: int) -> tuple[float, int, int, int]:
        if step not in ranks:
            ranks[step] = np.argsort(rng.stream(plan.seed, "server_order", plan.round, step).permutation(count))
        return float(due[position]), step, int(ranks[step][position]), position

    queue = [turn(position, int(done[position])) for position in range(count)]
    heapq.heapify(queue)
    until = done.copy()
    split_steps: list[SplitStep] = []
    finished: list[int] = []
    while len(finished) < min(protocol.buffer, count):
        _, step, _, position = heapq.heappop(queue)
        split_steps.append(SplitStep(position, step))
        until[position] = step + 1
        if until[position] == plan.steps[position]:
            finished.append(position)
            continue
        due[position] += 1 / protocol.speeds.of(plan.seed, int(plan.clients[position]))
        heapq.heappush(queue, turn(position, step + 1))
    return until, split_steps, np.array(sorted(finished), dtype=np.int64)


def under_way(
    protocol: BufferedSplitFed,
    plan: RoundPlan,
    outcome: Outcome,
    protocol_state: dict[str, torch.Tensor],
    portion: torch.Tensor,
) -> dict[str, torch.Tensor]:
    """What the next round must know: the clock, and of everybody under way since when, how far, with which portion.

    ``portion``: the global one, [d], with which those who began in this round began.
    """
    assert plan.local_rounds is not None and plan.local_rounds.schedule is not None
    clock = float(protocol_state[_CLOCK]) if _CLOCK in protocol_state else 0.0
    due = np.array([clock + 1 / protocol.speeds.of(plan.seed, int(client)) for client in plan.clients])
    if _WAY in protocol_state:
        place = {int(client): position for position, client in enumerate(plan.clients)}
        for (client, _, _), moment in zip(protocol_state[_WAY].tolist(), protocol_state[_DUE].tolist(), strict=True):
            due[place[client]] = moment
    now = clock
    for split_step in plan.local_rounds.schedule:
        now = float(due[split_step.position])
        due[split_step.position] += 1 / protocol.speeds.of(plan.seed, int(plan.clients[split_step.position]))
    waiting = [position for position in range(len(plan.clients)) if not plan.finishes(position)]
    kept = {
        _CLOCK: torch.tensor(now, dtype=torch.float64),
        _DUE: torch.tensor([due[position] for position in waiting], dtype=torch.float64),
        _WAY: torch.tensor(
            [[plan.clients[p], plan.local_rounds.began[p], plan.local_rounds.until[p]] for p in waiting],
            dtype=torch.int64,
        ).reshape(len(waiting), 3),
    }
    for position in waiting:
        client = int(plan.clients[position])
        before = {
            name: t
            for name, t in protocol_state.items()
            if name.startswith((f"{_PORTION}{client}/", f"{_STATE}{client}/"))
        }
        if client in outcome.in_flight:
            before = {f"{_STATE}{client}/{name}": t.cpu() for name, t in outcome.in_flight_states[client].items()}
            before[f"{_PORTION}{client}/"] = outcome.in_flight[client].cpu()
        elif not before:
            before[f"{_PORTION}{client}/"] = portion.clone()  # safetensors bears no two names of one tensor
        kept.update(before)
    return kept


def in_flight(
    plan: RoundPlan, protocol_state: dict[str, torch.Tensor]
) -> tuple[dict[int, torch.Tensor], dict[int, State]]:
    """By client id: the portions and optimiser states of those who go on in this round."""
    portions: dict[int, torch.Tensor] = {}
    states: dict[int, State] = {}
    for name, tensor in protocol_state.items():
        if name.startswith(_PORTION):
            portions[int(name.removeprefix(_PORTION).rstrip("/"))] = tensor
        elif name.startswith(_STATE):
            client, _, field = name.removeprefix(_STATE).partition("/")
            states.setdefault(int(client), {})[field] = tensor
    return portions, states
