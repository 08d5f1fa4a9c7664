"""How samples are cut into batches, whatever becomes of the last one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysplit.costs.traffic import predicted_bytes
from raysplit.protocols.batching import Batching
from raysplit.protocols.cycle_sl import CycleSfl
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.minibatch_sfl import MiniBatchSfl
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.scenario.devices import Devices
from tests.costs.plans import plan_of
from tests.toys import play, toy


@pytest.mark.parametrize(
    "batching,lengths",
    [
        (Batching(4), [4, 4, 2]),
        (Batching(4, "drop"), [4, 4]),
        (Batching(4, "join"), [4, 6]),
        (Batching(5, "join"), [5, 5]),
        (Batching(11, "drop"), [10]),
        (Batching(6, "join"), [10]),
        (Batching(None, "drop"), [10]),
    ],
)
def test_ten_samples_are_cut_as_the_last_batch_says(batching, lengths):
    assert batching.lengths(10) == lengths


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 60),
    st.none() | st.integers(1, 70),
    st.sampled_from(["keep", "drop", "join"]),
    st.integers(1, 3),
)
def test_batches_are_as_long_as_was_said_and_cover_what_was_said(samples, size, last, epochs):
    batching = Batching(size, last)
    lengths, steps = batching.lengths(samples), batching.steps(samples)
    assert len(lengths) == steps >= 1 and batching.seen(samples) == sum(lengths)
    for epoch in range(epochs):
        seen = []
        for batch in range(steps):
            chosen = batching.indices(1, 2, 7, epoch * steps + batch, samples)
            members = np.arange(samples) if chosen is None else chosen
            assert len(members) == lengths[batch] == batching.length(samples, epoch * steps + batch)
            seen += members.tolist()
        assert len(set(seen)) == len(seen) == sum(lengths)
    assert sum(lengths) == samples or (last == "drop" and samples - sum(lengths) < (size or 0))


def test_a_scenario_keeps_its_hash_while_the_last_batch_is_kept():
    scenario = toy(FedAvg())
    assert "last_batch" not in scenario.to_json()["training"]
    assert len({scenario.replace(**{"training.last_batch": last}).hash for last in ("keep", "drop", "join")}) == 3


@pytest.mark.parametrize("last_batch", ["drop", "join"])
@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV1(), MiniBatchSfl(), CycleSfl(server_batch=5)], ids=repr)
def test_steps_bytes_and_times_follow_the_last_batch(protocol, last_batch):
    scenario = toy(protocol, training__last_batch=last_batch, training__rounds=1, training__local_epochs=2)
    scenario = scenario.replace(devices=Devices())
    played, predicted = play(scenario), predicted_bytes(scenario, plan_of(scenario))
    # toys have 3, 10, 6, 13, 9 and 5 samples, in batches of 4
    assert played.tables["clients"].column("steps").to_pylist() == [2, 4, 2, 6, 4, 2]
    assert {channel.value: bytes.tensors for channel, bytes in predicted.items()} == played.bytes_on()
    assert played.tables["times"].num_rows == 6


@pytest.mark.parametrize("last_batch", ["drop", "join"])
def test_splitfed_v1_is_fedavg_whatever_becomes_of_the_last_batch(last_batch):
    digests = {play(toy(of, training__last_batch=last_batch)).digest for of in (FedAvg(), SplitFedV1())}
    assert len(digests) == 1
