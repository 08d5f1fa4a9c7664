"""Blocks of clients: every client in one, and a loop over a block is a loop over its clients."""

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raysplit.engine.local import LocalEngine
from raysplit.population.selection.cohort import ParticipationSampler
from raysplit.protocols.fedavg import FedAvg
from raysplit.scenario.layout import Layout
from raysplit.simulation.planning import make_plan
from raysplit.training.client_block import ClientBlock, blocks_of
from tests.toys import toy


@given(st.lists(st.integers(0, 50), unique=True), st.integers(1, 9))
def test_every_client_is_in_one_block_in_order(positions, size):
    blocks = blocks_of(positions, size)
    assert [position for block in blocks for position in block.positions] == positions
    assert all(len(block.positions) == size for block in blocks[:-1])


def test_the_mask_says_who_takes_part_in_which_step():
    mask = ClientBlock((0, 2)).mask(np.array([1, 9, 3]))
    assert mask.tolist() == [[True, False, False], [True, True, True]]


def test_the_loop_gives_the_same_bits_for_every_block_size():
    scenario = toy(FedAvg(), training__batch_size=2, training__local_epochs=2)
    population, start = scenario.population.open(), Layout(scenario).initial()
    sampler = ParticipationSampler(scenario.cohort, scenario.seed, population)
    plan = make_plan(scenario, population, 1, sampler.of(1), sampler.ranks)
    with LocalEngine(scenario) as engine:
        one = engine.train(plan, start)
        four = engine.train(dataclasses.replace(plan, block_size=4), start)
    assert one.client_sums.keys() == four.client_sums.keys()
    assert all(one.client_sums[group].equal(portion) for group, portion in four.client_sums.items())
