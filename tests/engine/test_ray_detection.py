"""Detection on Ray, pooled or colocated: the same bits, memory and verdicts as on the local engine."""

import pytest

from raysplit.memory.memory import CLIENT_DETECTION, client_path
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v2 import SplitFedV2
from tests.defenses.detection.test_client_detection_in_runs import DETECTION
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


@pytest.mark.slow
@pytest.mark.parametrize("placement", ["pooled", "colocated"])
def test_clients_take_their_detectors_memory_from_host_to_host(cluster, placement):
    """The cohort changes from round to round, so clients come to other hosts than before."""
    scenario = toy(
        SplitFedV2(), cut="V1", clients=9, cohort=Cohort(5), training__rounds=3, detection=DETECTION, groups=4
    )
    reference = play(scenario)
    hosts = 2 if placement == "pooled" else 1
    with ray_engine(scenario, cluster, hosts, placement, 1 if placement == "pooled" else None) as engine:
        played = play(scenario, engine)
    assert_same(played, reference)
    for path in (client_path(client, CLIENT_DETECTION) for client in range(9)):
        kept, there = reference.state.memory.get(path, {}), played.state.memory.get(path, {})
        assert kept.keys() == there.keys() and all(kept[name].equal(there[name]) for name in kept)
    assert played.tables["client_scores"].equals(reference.tables["client_scores"])
    assert reference.tables["client_scores"].num_rows > 20
