"""Cohorts of varying size on real Ray: the bits of the local engine, rounds that are passed over among them."""

import pytest

from raysplit.aggregation.rules.median import Median
from raysplit.population.selection.availability import DayNight
from raysplit.population.selection.cohort import Cohort
from raysplit.population.selection.draws import Poisson
from raysplit.population.selection.dropouts import Dropouts
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.loss_drop import AsyncSplitFed
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from tests.engine.test_ray_engine import assert_same, ray_engine
from tests.toys import play, toy


@pytest.mark.parametrize(
    "protocol,hosts,placement,when,changes",
    [
        (FedAvg(), 3, "colocated", "after", {}),
        (SplitFedV1(), 2, "colocated", "before", {"defense": Median()}),
        pytest.param(SplitFedV1(), 2, "pooled", "after", {}, marks=pytest.mark.slow),
        (SplitFedV2(), 3, "pooled", "after", {}),
        (AsyncSplitFed(1e9), 2, "pooled", "after", {}),  # a loss drop that never comes: states A, B and C
        pytest.param(SplitFedV2("client_major"), 2, "pooled", "before", {}, marks=pytest.mark.slow),
        pytest.param(SplitLearning(), 1, "pooled", "before", {}, marks=pytest.mark.slow),
    ],
)
def test_ray_gives_the_bits_of_the_local_engine(cluster, protocol, hosts, placement, when, changes):
    cohort = Cohort(4, draw=Poisson(), available=DayNight(4, 0.7, spread=0), dropouts=Dropouts(0.4, when))
    scenario = toy(protocol, clients=9, cohort=cohort, training__rounds=5, seed=0, **changes)
    with ray_engine(scenario, cluster, hosts, placement) as engine:
        played = play(scenario, engine)
    reference = play(scenario)
    assert_same(played, reference)
    sizes = reference.tables["rounds"].column("clients").to_pylist()
    assert sizes == [4, 1, 5, 0, 1]
    assert played.tables["rounds"].column("dropped") == reference.tables["rounds"].column("dropped")
