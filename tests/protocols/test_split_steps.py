import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raysplit.protocols.batching import Batching
from raysplit.protocols.plan import cut_groups
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.split_steps import (
    SplitStep,
    completion_order,
    handover_order,
    parallel_split_steps,
    shared_split_steps,
)
from raysplit.protocols.splitfed_v2 import SplitFedV2

STEPS = st.lists(st.integers(1, 5), min_size=1, max_size=8).map(np.array)
SHARED = [SplitFedV2("interleaved"), SplitFedV2("client_major"), SplitLearning("central"), SplitLearning(ring="fixed")]


@given(STEPS, st.sampled_from(SHARED), st.integers(0, 99), st.integers(1, 9))
def test_every_client_takes_every_step_once_and_its_own_in_order(steps, protocol, seed, round):
    split_steps = shared_split_steps(protocol, seed, round, steps)
    assert sorted(split_steps) == [SplitStep(p, s) for p in range(len(steps)) for s in range(steps[p])]
    for position in range(len(steps)):
        assert [v.step for v in split_steps if v.position == position] == list(range(steps[position]))


@given(STEPS, st.integers(0, 99))
def test_interleaved_visits_finish_everybodys_batch_before_anybodys_next(steps, seed):
    split_steps = shared_split_steps(SplitFedV2("interleaved"), seed, 1, steps)
    assert [v.step for v in split_steps] == sorted(v.step for v in split_steps)


@given(STEPS, st.sampled_from(SHARED[1:]), st.integers(0, 99))
def test_a_sequential_client_takes_all_its_steps_in_one_go(steps, protocol, seed):
    split_steps = shared_split_steps(protocol, seed, 1, steps)
    changes = sum(a.position != b.position for a, b in itertools.pairwise(split_steps))
    assert changes == len(steps) - 1
    order = handover_order(protocol, seed, 1, len(steps))
    assert (
        list(dict.fromkeys(v.position for v in split_steps)) == order.tolist() == completion_order(split_steps).tolist()
    )


def test_the_order_is_drawn_anew_for_each_round_and_for_each_interleaved_batch():
    steps = np.full(20, 3)
    interleaved = shared_split_steps(SplitFedV2("interleaved"), 42, 1, steps)
    thirds = [[v.position for v in interleaved[i * 20 : (i + 1) * 20]] for i in range(3)]
    assert thirds[0] != thirds[1] != thirds[2] != thirds[0]
    for protocol in SHARED[:3]:
        assert shared_split_steps(protocol, 42, 1, steps) == shared_split_steps(protocol, 42, 1, steps)
        assert shared_split_steps(protocol, 42, 1, steps) != shared_split_steps(protocol, 42, 2, steps)
        assert shared_split_steps(protocol, 42, 1, steps) != shared_split_steps(protocol, 43, 1, steps)
    assert handover_order(SplitLearning(ring="fixed"), 42, 7, 20).tolist() == list(range(20))


def test_a_clients_place_in_an_interleaved_batch_is_uniform():
    """Over 400 rounds of 8 clients a place is taken 50 ± 6.6 times; 5 standard deviations are allowed."""
    counts = np.zeros((8, 8))
    for round in range(400):
        for place, split_step in enumerate(shared_split_steps(SplitFedV2(), 1, round, np.ones(8, dtype=int))):
            counts[split_step.position, place] += 1
    assert abs(counts - 50).max() < 5 * np.sqrt(400 * 1 / 8 * 7 / 8)


@given(STEPS)
def test_clients_finish_in_the_order_of_their_last_visits(steps):
    split_steps = shared_split_steps(SplitFedV2(), 3, 1, steps)
    finished = [v.position for v in split_steps if v.step == steps[v.position] - 1]
    assert completion_order(split_steps).tolist() == finished


@given(STEPS, st.integers(1, 4))
def test_parallel_visits_keep_few_clients_under_way(steps, ahead):
    split_steps = parallel_split_steps(list(range(len(steps))), steps, ahead)
    assert sorted(split_steps) == [SplitStep(p, s) for p in range(len(steps)) for s in range(steps[p])]
    under_way: set[int] = set()
    for split_step in split_steps:
        under_way.add(split_step.position)
        assert len(under_way) <= ahead
        if split_step.step == steps[split_step.position] - 1:
            under_way.discard(split_step.position)


@given(st.integers(1, 60), st.integers(1, 70), st.integers(1, 3), st.integers(0, 9))
def test_every_local_epoch_sees_each_sample_once_in_batches_of_the_size_asked_for(samples, size, epochs, seed):
    per_epoch = Batching(size).steps(samples)
    for epoch in range(epochs):
        batches = []
        for step in range(epoch * per_epoch, (epoch + 1) * per_epoch):
            chosen = Batching(size).indices(seed, 1, 7, step, samples)
            batches.append(np.arange(samples) if chosen is None else chosen)
        assert sorted(np.concatenate(batches)) == list(range(samples))
        assert all(len(batch) == size for batch in batches[:-1])
        assert 0 < len(batches[-1]) <= size


def test_batches_are_drawn_anew_for_each_epoch_round_and_client_and_for_nothing_else():
    def batch(round=1, client=5, step=0, seed=42):
        return Batching(10).indices(seed, round, client, step, 40).tolist()

    assert batch() == batch()
    assert len({tuple(b) for b in (batch(), batch(2), batch(client=6), batch(step=4), batch(seed=43))}) == 5


def test_no_batch_size_means_the_whole_set_in_its_own_order():
    assert Batching(None).steps(500) == 1
    assert Batching(None).indices(42, 1, 0, 0, 500) is None
    assert Batching(8).indices(42, 1, 0, 3, 8) is None


@given(st.lists(st.integers(1, 500), min_size=1, max_size=60).map(np.array), st.integers(1, 70))
def test_groups_part_the_cohort_and_their_work_is_balanced(samples, count):
    groups = cut_groups(samples, count)
    assert sorted(p for group in groups for p in group) == list(range(len(samples)))
    assert len(groups) == min(count, len(samples)) and all(groups)
    assert all(list(group) == sorted(group) for group in groups)
    work = [int(samples[list(group)].sum()) for group in groups]
    assert max(work) - min(work) <= samples.max()


def test_groups_depend_on_samples_and_count_alone():
    samples = np.array([5, 9, 9, 1, 7, 3])
    assert cut_groups(samples, 2) == cut_groups(samples.copy(), 2) == ((1, 3, 4), (0, 2, 5))
