"""On real Ray: noise and Poisson batches, empty ones included, are the same bits wherever clients and server portion are."""

from __future__ import annotations

import pytest

from raysplit.aggregation.rules.dp_fedavg import DpFedAvg
from raysplit.aggregation.rules.secure_aggregation import SecureAggregation
from raysplit.defenses.privacy.per_example_clipping import PerExampleClipping
from raysplit.population.selection.cohort import Cohort
from raysplit.population.selection.draws import Poisson
from raysplit.population.selection.dropouts import Dropouts
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from tests.engine.test_ray_engine import assert_same, ray_engine
from tests.toys import play, toy


@pytest.mark.parametrize(
    ("protocol", "tail", "hosts", "placement"),
    [(SplitFedV1(), None, 2, "colocated"), (SplitFedV2(u_shaped=True), "fc1", 2, "pooled")],
    ids=["colocated", "pooled"],
)
def test_private_training_gives_what_it_gives_locally(cluster, protocol, tail, hosts, placement):
    privacy = PerExampleClipping(0.5, 2.0, expected_batch=3)
    scenario = toy(protocol, tail=tail, training__batch_size=None, training__poisson_rate=0.25, privacy=privacy)
    here = play(scenario)
    with ray_engine(scenario, cluster, hosts, placement) as engine:
        assert_same(play(scenario, engine), here)
    batching, sizes = scenario.training.batching, scenario.population.open().train_sizes(range(6))
    drawn = [batching.indices(42, 1, client, step, int(n)) for client, n in enumerate(sizes) for step in range(4)]
    assert any(not len(some) for some in drawn)


def test_privacy_of_whole_clients_and_masked_updates_give_what_they_give_locally(cluster):
    """Noise is the fed server's, also in a round in which nobody was drawn; masks are named by who shares them."""
    rule = DpFedAvg(0.05, 1.0, 2, quantile=0.5)
    noisy = toy(SplitFedV1(), defense=rule, server_defense=rule, cohort=Cohort(1, draw=Poisson()), training__rounds=4)
    lossy = Cohort(6, dropouts=Dropouts(0.3, when="after"))
    for scenario in (noisy, toy(SplitFedV1(), defense=SecureAggregation(), cohort=lossy)):
        here = play(scenario)
        with ray_engine(scenario, cluster, 2, "colocated") as engine:
            assert_same(play(scenario, engine), here)
