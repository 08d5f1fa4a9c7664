"""On real Ray: noise and Poisson batches, empty ones included, are the same bits wherever clients and server portion are."""

from __future__ import annotations

import pytest

from raysplit.defenses.privacy.per_example_clipping import PerExampleClipping
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
