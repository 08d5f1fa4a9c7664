"""Dropout's masks, and LSTMs, on real Ray: those of the local engine, whoever hosts the client and wherever the server
stands."""

import pytest

from raysplit.engine.placement import Wanted, lay_out
from raysplit.engine.ray.cluster import by_value
from raysplit.engine.ray.ray_engine import RayEngine
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from tests.models import dropouts, texts
from tests.models.dropouts import DropoutCnn
from tests.toys import play, toy


@pytest.mark.slow
@pytest.mark.parametrize(
    "protocol,hosts,placement,servers",
    [
        (SplitFedV1(), 2, "colocated", None),
        (SplitFedV1(u_shaped=True), 2, "pooled", 1),
        (SplitFedV2(u_shaped=True), 2, "pooled", None),
    ],
    ids=repr,
)
def test_masks_are_the_local_engines(cluster, protocol, hosts, placement, servers):
    by_value(dropouts)
    scenario = toy(protocol, model=DropoutCnn("V1", "fc1"))
    engine = RayEngine(
        scenario,
        lay_out(scenario, cluster, Wanted(hosts=hosts, servers=servers, placement=placement)),
        cluster.actor_pool,
    )
    try:
        played = play(scenario, engine)
    finally:
        engine.close()
    assert played.digest == play(scenario).digest


@pytest.mark.slow
@pytest.mark.parametrize("protocol,placement", [(SplitFedV2(), "pooled"), (SplitFedV1(), "colocated")], ids=repr)
def test_lstms_are_the_local_engines(cluster, protocol, placement):
    by_value(texts)
    scenario = texts.texts(protocol).replace(model=texts.lstm(dropout=0.3))
    engine = RayEngine(scenario, lay_out(scenario, cluster, Wanted(hosts=2, placement=placement)), cluster.actor_pool)
    try:
        played = play(scenario, engine)
    finally:
        engine.close()
    assert played.digest == play(scenario).digest
