"""Rules on server replicas, whose rows come from hosts or from a pool of main servers: the same bits as on the local
engine."""

import pytest

from raysplit.aggregation.rules.centred_clipping import CentredClipping
from raysplit.aggregation.rules.fltrust import FLTrust
from raysplit.aggregation.rules.trimmed_mean import TrimmedMean
from raysplit.attacks.attack import CompositeAttack
from raysplit.attacks.updates.on_server_replicas import OnServerReplicas
from raysplit.attacks.updates.sign_flip import SignFlip
from raysplit.population.selection.cohort import Cohort
from raysplit.population.selection.dropouts import Dropouts
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v3 import SplitFedV3
from tests.engine.test_ray_engine import assert_same, ray_engine
from tests.toys import play, toy


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "cut", "tail", "rule", "placement", "servers"),
    [
        (SplitFedV1(), "V2", None, TrimmedMean(), "colocated", None),
        (SplitFedV1(), "V1", None, CentredClipping(0.1, start="previous"), "pooled", 2),
        (SplitFedV1(u_shaped=True), "V1", "fc1", TrimmedMean(), "pooled", 1),
        (SplitFedV3(), "V2", None, FLTrust((0, 8)), "pooled", 2),
    ],
)
def test_the_same_bits(cluster, protocol, cut, tail, rule, placement, servers):
    cohort = Cohort(7, 0.3, "cohort", dropouts=Dropouts(0.2, when="after"), at_least=5)
    lie = OnServerReplicas(SignFlip())
    lie = CompositeAttack((SignFlip(), lie)) if protocol.client_sync == "averaging" else lie
    scenario = toy(
        protocol, cut, tail, clients=9, cohort=cohort, server_defense=rule, attack=lie, training__rounds=3, groups=4
    )
    reference = play(scenario)
    with ray_engine(scenario, cluster, 2, placement, servers) as engine:
        played = play(scenario, engine)
    assert_same(played, reference)
    for table in ("aggregation", "attacks"):
        assert played.tables[table].drop(["seconds"]) == reference.tables[table].drop(["seconds"])
    assert (
        played.state.memory.get("fed/rule/server_updates", {}).keys()
        == reference.state.memory.get("fed/rule/server_updates", {}).keys()
    )
    assert all(
        played.state.memory.get("fed/rule/server_updates", {})[name].equal(t)
        for name, t in reference.state.memory.get("fed/rule/server_updates", {}).items()
    )
    assert sum(reference.tables["rounds"]["dropped"].to_pylist()) > 0
