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
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch

from raysplit import rng
from raysplit.memory.global_state import GlobalState
from raysplit.memory.memory import IN_FLIGHT_OPTIMIZER, IN_FLIGHT_PORTION, Memory, State, client_path
from raysplit.parts.part import part, within
from raysplit.population.selection.cohort import Cohort, Participation, ParticipationSampler, SampledCohort, draw
from raysplit.population.selection.draws import Uniform
from raysplit.protocols.local_rounds import LocalRounds
from raysplit.protocols.outcome import Outcome
from raysplit.protocols.plan import RoundPlan
from raysplit.protocols.protocol import (
    ClientState,
    ClientSync,
    Order,
    ServerPortion,
    ServerState,
    Synchrony,
    TrainingProtocol,
)
from raysplit.protocols.requirements import Requirement
from raysplit.protocols.split_steps import SplitStep

MEMORY = "fed/buffered"
_CLOCK, _WAY, _DUE = "clock", "under_way", "due"


@part
class Speeds:
    """Batches a virtual second: exp(``sigma`` · N(0, 1)), once a client. ``sigma=0``: all alike."""

    sigma: float = 0.0

    def __post_init__(self) -> None:
        within("Speeds.sigma", self.sigma, 0, 50)  # e^50 is slower than any clock shows; beyond it floats end

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

    @property
    def requires(self) -> tuple[Requirement, ...]:
        whole = "{protocol} keeps a whole cohort under way and fills free places uniformly; leave "
        return (
            Requirement(
                lambda setting: self.buffer <= setting.cohort.size,
                "{protocol}.buffer is {answers.buffer}, but a cohort of {setting.cohort.size} has only so many under "
                "way; choose at most that",
            ),
            Requirement(lambda setting: setting.uneven is None, whole + "{setting.uneven} out"),
            Requirement(lambda setting: isinstance(setting.cohort.draw, Uniform), whole + "Cohort.draw out"),
        )

    def participation(self, sampler: ParticipationSampler, round: int, memory: Memory) -> Participation:
        """Those under way, and new ones in the free places; nobody drops out."""
        sampled = refilled(sampler.cohort, sampler.seed, round, sampler.ranks, memory)
        nobody = sampled.where(np.zeros(len(sampled.clients), dtype=bool))
        return Participation(sampled, nobody, nobody)

    def plan(self, plan: RoundPlan, memory: Memory) -> RoundPlan:
        """Until ``buffer`` clients have finished; their weights by samples and staleness."""
        return scheduled(self, plan, memory)

    def after(self, plan: RoundPlan, outcome: Outcome, state: GlobalState) -> Memory:
        """The clock, and with which portions those under way go on."""
        return under_way(self, plan, {**state.memory, **outcome.memory}, state.client)


def refilled(cohort: Cohort, seed: int, round: int, ranks: np.ndarray, memory: Mapping[str, State]) -> SampledCohort:
    """Who is under way in a round: those of before, and clients sampled for the free places; ascending ids."""
    kept = memory.get(MEMORY, {})
    under_way = kept[_WAY][:, 0].numpy() if _WAY in kept else np.zeros(0, dtype=np.int64)
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


def scheduled(protocol: BufferedSplitFed, plan: RoundPlan, memory: Mapping[str, State]) -> RoundPlan:
    """The plan of the round that ends with the next aggregation."""
    count, kept = len(plan.clients), memory.get(MEMORY, {})
    began = np.full(count, plan.round, dtype=np.int64)
    done = np.zeros(count, dtype=np.int64)
    if _WAY in kept:
        place = {int(client): position for position, client in enumerate(plan.clients)}
        for client, since, taken in kept[_WAY].tolist():
            began[place[client]], done[place[client]] = since, taken
    until, split_steps, finished = _run(protocol, plan, done, _due(protocol, plan, memory))
    staleness = plan.round - began[finished]
    worth = plan.samples[finished] * (1.0 + staleness) ** -protocol.staleness
    weights = np.zeros(count)
    weights[finished] = worth / worth.sum()
    local_rounds = LocalRounds(began, done, until, np.zeros(count, dtype=bool), schedule=tuple(split_steps))
    return dataclasses.replace(plan, weights=weights, local_rounds=local_rounds)


def _run(
    protocol: BufferedSplitFed, plan: RoundPlan, done: np.ndarray, due: np.ndarray
) -> tuple[np.ndarray, list[SplitStep], np.ndarray]:
    """Play the clock until the buffer is full: steps reached, all split steps in order, and who finished, ascending.

    ``due``: when each client's next batch ends; brought forward in place.
    """
    count = len(plan.clients)
    ranks: dict[int, np.ndarray] = {}

    def queue_entry(position: int, step: int) -> tuple[float, int, int, int]:
        if step not in ranks:
            ranks[step] = np.argsort(rng.stream(plan.seed, "server_order", plan.round, step).permutation(count))
        return float(due[position]), step, int(ranks[step][position]), position

    queue = [queue_entry(position, int(done[position])) for position in range(count)]
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
        heapq.heappush(queue, queue_entry(position, step + 1))
    return until, split_steps, np.array(sorted(finished), dtype=np.int64)


def under_way(
    protocol: BufferedSplitFed, plan: RoundPlan, memory: Mapping[str, State], portion: torch.Tensor
) -> Memory:
    """What the next round must know: the clock, and of everybody under way since when, how far, with which portion.

    ``memory``: the round's, what hosts handed back included. ``portion``: the global one, [d], with which those who
    began in this round began.
    """
    assert plan.local_rounds is not None and plan.local_rounds.schedule is not None
    kept = memory.get(MEMORY, {})
    clock = float(kept[_CLOCK]) if _CLOCK in kept else 0.0
    due = _due(protocol, plan, memory)
    now = clock
    for split_step in plan.local_rounds.schedule:
        now = float(due[split_step.position])
        due[split_step.position] += 1 / protocol.speeds.of(plan.seed, int(plan.clients[split_step.position]))
    waiting = [position for position in range(len(plan.clients)) if not plan.finishes(position)]
    rows = [[plan.clients[p], plan.local_rounds.began[p], plan.local_rounds.until[p]] for p in waiting]
    changes: Memory = {
        MEMORY: {
            _CLOCK: torch.tensor(now, dtype=torch.float64),
            _DUE: torch.tensor([due[position] for position in waiting], dtype=torch.float64),
            _WAY: torch.tensor(rows, dtype=torch.int64).reshape(len(waiting), 3),
        }
    }
    for position, client in enumerate(plan.clients.tolist()):
        path = client_path(client, IN_FLIGHT_PORTION)
        if plan.finishes(position):
            changes[path] = changes[client_path(client, IN_FLIGHT_OPTIMIZER)] = {}
        elif path not in memory:
            changes[path] = {"portion": portion.clone()}  # a checkpoint bears no two names of one tensor
    return changes


def _due(protocol: BufferedSplitFed, plan: RoundPlan, memory: Mapping[str, State]) -> np.ndarray:
    """When each client's next batch ends, as the round begins: float64 [n], virtual seconds."""
    kept = memory.get(MEMORY, {})
    clock = float(kept[_CLOCK]) if _CLOCK in kept else 0.0
    due = np.array([clock + 1 / protocol.speeds.of(plan.seed, int(client)) for client in plan.clients])
    if _WAY in kept:
        place = {int(client): position for position, client in enumerate(plan.clients)}
        for (client, _, _), moment in zip(kept[_WAY].tolist(), kept[_DUE].tolist(), strict=True):
            due[place[client]] = moment
    return due
