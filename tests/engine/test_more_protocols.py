"""Asynchronous, published and other-party protocols on real Ray: the bits of the local engine."""

import pytest

from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.buffered import BufferedSplitFed
from raysplit.protocols.extended_split import ExtendedSplit
from raysplit.protocols.loss_drop import AsyncSplitFed, AsyncSplitLearning
from raysplit.protocols.multi_task_split import MultiTaskSplit, Task
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.protocols.vertical_split import VerticalSplit
from raysplit.training.optimizers import Adam
from tests.engine.test_ray_engine import assert_same, ray_engine
from tests.toys import play, toy

NEVER = 1e9
"""A loss drop that never comes: rounds 1 and 2 are full, 3 is in state B and 4 in C."""


@pytest.mark.parametrize(
    "protocol,tail,hosts,placement",
    [
        (AsyncSplitFed(NEVER), None, 2, "pooled"),
        pytest.param(AsyncSplitFed(NEVER), None, 1, "colocated", marks=pytest.mark.slow),
        pytest.param(AsyncSplitLearning(NEVER), None, 1, "pooled", marks=pytest.mark.slow),
        (BufferedSplitFed(2), None, 2, "pooled"),
        pytest.param(BufferedSplitFed(2), None, 1, "colocated", marks=pytest.mark.slow),
        (SplitFedV1(as_published="thapa2022"), None, 1, "auto"),
        pytest.param(SplitFedV2("client_major", as_published="thapa2022"), None, 1, "auto", marks=pytest.mark.slow),
        pytest.param(SplitFedV2("client_major", as_published="slperf"), None, 2, "pooled", marks=pytest.mark.slow),
        pytest.param(SplitLearning(as_published="slperf"), None, 1, "pooled", marks=pytest.mark.slow),
        (VerticalSplit(2), None, 1, "auto"),
        pytest.param(ExtendedSplit(), "fc1", 1, "auto", marks=pytest.mark.slow),
        pytest.param(MultiTaskSplit((Task("a"), Task("b", (0, 1, 0, 1, 0)))), None, 1, "auto", marks=pytest.mark.slow),
    ],
    ids=repr,
)
def test_ray_gives_the_bits_of_the_local_engine(cluster, protocol, tail, hosts, placement):
    changes = {"training__optimizer": Adam(), "training__lr": 0.01, "training__rounds": 5}
    scenario = toy(protocol, "V1", tail, clients=7, cohort=Cohort(5), **changes)
    with ray_engine(scenario, cluster, hosts, placement) as engine:
        played = play(scenario, engine)
    reference = play(scenario)
    assert_same(played, reference)
    assert played.state.memory.keys() == reference.state.memory.keys()
    assert all(
        played.state.memory[path][name].equal(tensor)
        for path, kept in reference.state.memory.items()
        for name, tensor in kept.items()
    )
