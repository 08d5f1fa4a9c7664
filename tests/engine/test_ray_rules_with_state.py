"""Rules that remember or ask for a root client's update: on Ray the same bits as on the local engine."""

import pytest

from raysplit.aggregation.rules.composed import Composed
from raysplit.aggregation.rules.crfl import CRFL
from raysplit.aggregation.rules.fltrust import FLTrust
from raysplit.aggregation.rules.fools_gold import FoolsGold
from raysplit.attacks.updates.sign_flip import SignFlip
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.splitfed_v2 import SplitFedV2
from tests.engine.test_ray_engine import assert_same, ray_engine
from tests.toys import play, toy


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "rule", "placement", "servers"),
    [
        (SplitFedV2(), CRFL(20.0, FLTrust((0, 8))), "pooled", 2),
        (SplitFedV2(), Composed((), FLTrust((8,))), "colocated", None),
        (FedAvg(), FoolsGold(), "colocated", None),
    ],
)
def test_the_same_bits(cluster, protocol, rule, placement, servers):
    cohort = Cohort(5, 0.4, "cohort")
    scenario = toy(protocol, clients=9, cohort=cohort, defense=rule, attack=SignFlip(), training__rounds=3)
    reference = play(scenario)
    with ray_engine(scenario, cluster, 2, placement, servers) as engine:
        played = play(scenario, engine)
    assert_same(played, reference)
    assert (
        played.state.memory.get("fed/rule/updates", {}).keys()
        == reference.state.memory.get("fed/rule/updates", {}).keys()
    )
    assert all(
        played.state.memory.get("fed/rule/updates", {})[name].equal(tensor)
        for name, tensor in reference.state.memory.get("fed/rule/updates", {}).items()
    )
