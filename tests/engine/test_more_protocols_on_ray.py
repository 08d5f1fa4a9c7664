"""On real Ray: servers that step on many clients' gradients, servers that wait, and portions that never meet."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raysplit.engine.placement import Wanted, lay_out
from raysplit.engine.ray.cluster import object_store_bytes
from raysplit.engine.ray.ray_engine import _own
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.cycle_sl import CyclePsl, CycleSfl
from raysplit.protocols.minibatch_sfl import MiniBatchSfl
from raysplit.protocols.parallel_sl import ParallelSl
from raysplit.protocols.sglr import Sglr
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v3 import SplitFedV3
from raysplit.training.optimizers import Adam
from tests.engine.faults import Assassin, FaultyClients, alive, arm_after
from tests.engine.test_ray_engine import assert_same, ray_engine
from tests.toys import play, toy

slow = pytest.mark.slow
CASES = [
    (SplitFedV1(reading="gradients"), None, 2, "pooled", slow),
    (SplitFedV1(True, "accumulated", "sum"), "fc1", 2, "pooled", ()),
    (SplitFedV1(reading="accumulated"), None, 1, "colocated", slow),
    (MiniBatchSfl(), None, 1, "pooled", slow),
    (MiniBatchSfl(), None, 2, "pooled", slow),
    (MiniBatchSfl(True), "fc1", 1, "colocated", slow),
    (SplitFedV3(), None, 1, "colocated", slow),
    (SplitFedV3(), None, 2, "colocated", ()),
    (SplitFedV3(True), "fc1", 2, "pooled", slow),
    (ParallelSl(), None, 1, "colocated", slow),
    (ParallelSl("client_major", True), "fc1", 1, "pooled", slow),
    (ParallelSl(), None, 2, "pooled", ()),
    (SplitLearning(schedule="minibatch"), None, 1, "pooled", ()),
    (SplitLearning("peer_to_peer", u_shaped=True, schedule="minibatch"), "fc1", 1, "colocated", slow),
    (Sglr(), None, 1, "colocated", slow),
    (Sglr(synchronise=True), None, 1, "pooled", slow),
    (Sglr(), None, 2, "pooled", ()),
    (CycleSfl(server_epochs=2, server_batch=7), None, 1, "colocated", slow),
    (CycleSfl(), None, 1, "pooled", slow),
    (CycleSfl(server_epochs=2, server_batch=7), None, 2, "pooled", ()),
    (CyclePsl(), None, 2, "pooled", slow),
]


@pytest.mark.parametrize(
    "protocol,tail,hosts,placement",
    [pytest.param(p, t, h, place, marks=marks, id=f"{p}-{h}-{place}") for p, t, h, place, marks in CASES],
)
def test_ray_gives_the_bits_of_the_local_engine(cluster, protocol, tail, hosts, placement):
    """Cohorts of 5 out of 8: some clients come back to portions of their own, some never come and are judged all the
    same."""
    scenario = toy(
        protocol,
        "V1",
        tail,
        clients=8,
        cohort=Cohort(5),
        training__optimizer=Adam(),
        training__lr=0.01,
        training__rounds=3,
        training__client_state="per_client",
    )
    with ray_engine(scenario, cluster, hosts, placement) as engine:
        described = engine.describe()
        played = play(scenario, engine)
    assert described["hosts"] == hosts and described["placement"] == placement
    assert_same(played, play(scenario))
    assert played.retries() == 0


def test_shared_portions_of_personal_clients_are_pooled_when_nothing_is_asked(cluster):
    assert lay_out(toy(ParallelSl()), cluster, Wanted(hosts=2)).placement == "pooled"
    assert lay_out(toy(SplitFedV3()), cluster, Wanted(hosts=2)).placement == "colocated"


def test_rays_store_has_room_for_the_portions_that_hosts_are_sent():
    personal, averaged = (toy(p, clients=100, evaluation__clients=500) for p in (SplitFedV3(), SplitFedV1()))
    portion = 10_000_000
    assert object_store_bytes(personal, portion) - object_store_bytes(averaged, portion) == 2 * 600 * portion


@pytest.mark.slow
@pytest.mark.parametrize("protocol,victim", [(CyclePsl(), "host-0"), (Sglr(), "server-0"), (MiniBatchSfl(), "host-1")])
def test_a_process_killed_while_others_wait_for_it_changes_no_bit(cluster, tmp_path, protocol, victim):
    population = FaultyClients(6, folder=str(tmp_path), client=4, fault="halt")
    scenario = toy(protocol, population=population, training__rounds=3)
    with ray_engine(scenario, cluster, 2, "pooled") as engine:
        pid = engine.pids[victim]
        with Assassin(tmp_path, pid) as assassin:
            played = play(scenario, engine, watch=arm_after(tmp_path, 1))
    assert assassin.struck and not alive(pid)
    assert played.tables["rounds"].column("retries").to_pylist()[1] >= 1
    assert_same(played, play(toy(protocol, training__rounds=3)))


def test_a_host_is_sent_the_portions_of_its_own_clients_alone():
    kept = {client: torch.full((2,), float(client)) for client in (3, 5, 8)}
    sent = _own(kept, np.array([8, 3, 4]))
    assert sorted(sent) == [3, 8] and sent[8].array.tolist() == [8.0, 8.0]
    assert _own(None, np.array([8])) is None
