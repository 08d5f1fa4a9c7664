"""An asynchronous protocol of a user's own: two rounds for every other client, by participation, plan and after alone."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest
import torch

from raysplit.memory.memory import IN_FLIGHT_OPTIMIZER, IN_FLIGHT_PORTION, client_path
from raysplit.parts.part import part
from raysplit.population.selection.cohort import Participation, SampledCohort
from raysplit.protocols.local_rounds import LocalRounds
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.storage.checkpoints import read_checkpoint
from tests.toys import play, toy

MEMORY = "fed/slow_half"


@part
class SlowHalf(TrainingProtocol):
    """Clients at odd positions need two rounds for their local round; in the second of them they are alone."""

    client_sync: ClassVar = "averaging"
    server: ClassVar = "shared"
    order: ClassVar = "interleaved"
    client_state: ClassVar = "fresh"
    server_state: ClassVar = "persistent"
    synchrony: ClassVar = "buffered"

    def participation(self, sampler, round, memory):
        if MEMORY not in memory:
            return sampler.of(round)
        clients = memory[MEMORY]["clients"].numpy()
        sampled = SampledCohort(clients, np.zeros(len(clients), dtype=bool))
        nobody = sampled.where(sampled.malicious)
        return Participation(sampled, nobody, nobody)

    def plan(self, plan, memory):
        second = MEMORY in memory
        half = plan.steps // 2
        slow = np.ones(len(plan.clients), dtype=bool) if second else np.arange(len(plan.clients)) % 2 == 1
        done = half if second else np.zeros_like(plan.steps)
        until = plan.steps if second else np.where(slow, half, plan.steps)
        steps = [s for s in plan.split_steps(self) if done[s.position] <= s.step < until[s.position]]
        began = np.full(len(plan.clients), plan.round - second)
        weights = np.where(until == plan.steps, plan.samples, 0.0)
        rounds = LocalRounds(began, done, until, np.zeros(len(slow), dtype=bool), schedule=tuple(steps))
        return dataclasses.replace(plan, weights=weights / weights.sum(), local_rounds=rounds)

    def after(self, plan, outcome, state):
        if MEMORY in state.memory:
            over = {client_path(c, what): {} for c in plan.clients for what in (IN_FLIGHT_PORTION, IN_FLIGHT_OPTIMIZER)}
            return {MEMORY: {}, **over}
        return {MEMORY: {"clients": torch.from_numpy(plan.clients[1::2].copy())}}


SCENARIO = toy(SlowHalf(), clients=6, training__rounds=4, training__local_epochs=2, checkpoint_every=1)


def test_every_other_client_takes_its_steps_in_two_rounds():
    played = play(SCENARIO)
    rows = played.tables["clients"].to_pylist()
    steps = {(row["round"], row["client"]): row["steps"] for row in rows}
    first = [row["client"] for row in rows if row["round"] == 1]
    slow = [row["client"] for row in rows if row["round"] == 2]
    assert slow == first[1::2] and [row["client"] for row in rows if row["round"] == 3] == first
    for client in slow:
        assert 0 < steps[1, client] <= steps[2, client]
        assert steps[1, client] + steps[2, client] == steps[3, client] + steps[4, client]
    arrived = [row["n"] for row in played.tables["aggregation"].to_pylist()]
    assert arrived == [3, 3, 3, 3]


@pytest.mark.parametrize("round", [1, 2, 3])
def test_it_resumes_with_the_same_bits(tmp_path, round):
    straight = play(SCENARIO)
    with pytest.raises(_Stopped):
        play(SCENARIO, folder=tmp_path, watch=_stop_after(round))
    read = read_checkpoint(tmp_path / "checkpoints" / f"round-{round:06d}", straight.layout, SCENARIO.hash)
    assert play(SCENARIO, start=read).digest == straight.digest


def _stop_after(round):
    def watch(report):
        if report.round == round:
            raise _Stopped

    return watch


class _Stopped(Exception):
    pass
