"""On real Ray: what is attached from code acts as it does on the local engine, pooled and colocated."""

import re

import pytest

from raysplit.engine.local import LocalEngine
from raysplit.engine.placement import Wanted, lay_out
from raysplit.engine.ray.ray_engine import RayEngine
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.training.failures import ClientFailure
from tests.engine.attached import BrokenBody, Clipped, CollectSmashed, CountMessages
from tests.engine.test_ray_engine import assert_same, ray_engine
from tests.toys import play, toy


@pytest.mark.parametrize(
    "protocol,hosts,placement",
    [(SplitFedV1(), 2, "colocated"), (SplitFedV2(), 2, "pooled"), (SplitFedV2(), 1, "colocated")],
    ids=repr,
)
def test_listeners_memory_and_gradient_rules_give_what_they_give_locally(cluster, protocol, hosts, placement):
    scenario, rule = toy(protocol), Clipped(0.01)
    hooks = (CollectSmashed(), *((CountMessages(),) if protocol.server == "shared" else ()))
    here = play(scenario, LocalEngine(scenario, hooks=hooks, gradient_rule=rule))
    layout = lay_out(scenario, cluster, Wanted(hosts=hosts, placement=placement))
    with RayEngine(scenario, layout, cluster.actor_pool, hooks, rule) as engine:
        there = play(scenario, engine)
    assert_same(there, here)
    assert len(here.observations) == len(there.observations) > 12
    for one, other in zip(here.observations, there.observations, strict=True):
        assert (one.hook, one.round, one.client, one.step) == (other.hook, other.round, other.client, other.step)
        assert one.tensors["z"].equal(other.tensors["z"]) and one.tensors["y"].equal(other.tensors["y"])
    if protocol.server == "shared":
        assert there.state.memory["server/count"]["seen"] == here.state.memory["server/count"]["seen"]


def test_a_failure_in_a_pooled_server_portion_says_whose_step_where_and_in_which_line(cluster):
    scenario = toy(SplitFedV2(), model=BrokenBody("V2"))
    with ray_engine(scenario, cluster, 2, "pooled") as engine:
        with pytest.raises(ClientFailure) as caught:
            play(scenario, engine)
        assert engine.counts().retries == 0
    assert re.fullmatch(
        r"round 1, client \d, at the main server on server 0 \(pid \d+, node .*\): attached.py:\d+: KeyError: 'b'",
        str(caught.value),
    )
