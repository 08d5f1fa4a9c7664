"""Detection on Ray, pooled or colocated: the same bits, memory and verdicts as on the local engine."""

import pytest

from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v2 import SplitFedV2
from tests.defenses.detection.test_detection_in_runs import STRICT
from tests.engine.test_ray_engine import assert_same, ray_engine
from tests.toys import play, toy


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "hosts", "placement", "servers"),
    [
        (SplitFedV2("client_major"), 1, "pooled", 1),
        (SplitFedV2("client_major"), 2, "pooled", 1),
        (SplitFedV2("client_major"), 1, "colocated", None),
        (SplitLearning(), 1, "pooled", 1),
    ],
)
def test_the_same_bits(cluster, protocol, hosts, placement, servers):
    scenario = toy(protocol, clients=9, cohort=Cohort(6, 0.4, "cohort"), training__rounds=3, detection=STRICT)
    reference = play(scenario)
    with ray_engine(scenario, cluster, hosts, placement, servers) as engine:
        played = play(scenario, engine)
    assert_same(played, reference)
    assert (
        played.state.memory.get("server/detection", {}).keys()
        == reference.state.memory.get("server/detection", {}).keys()
        != set()
    )
    assert all(
        played.state.memory.get("server/detection", {})[name].equal(tensor)
        for name, tensor in reference.state.memory.get("server/detection", {}).items()
    )
    assert played.tables["detection"].equals(reference.tables["detection"])
