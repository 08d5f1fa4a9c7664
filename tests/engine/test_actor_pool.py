"""Actors that go from one scenario to the next: the same processes, and the same bits as fresh ones."""

import pytest
import ray

from raysplit.engine.placement import Wanted, lay_out
from raysplit.engine.ray.actor_pool import ActorPool, alive
from raysplit.engine.ray.ray_engine import RayEngine
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from tests.toys import ToyCnn, play, toy


@pytest.fixture(autouse=True)
def free_cores(cluster):
    """Every core free: these tests have pools of their own, for which idle actors of the folder's pool do not give
    way."""
    cluster.actor_pool.make_room(cluster.cpus, cluster.gpus)


def on_ray(scenario, cluster, actor_pool, placement="auto"):
    """The digest of a scenario played by a crew's actors, and their process ids."""
    with RayEngine(scenario, lay_out(scenario, cluster, Wanted(2, 1, placement)), actor_pool) as engine:
        return play(scenario, engine).digest, set(engine.pids.values())


def test_the_next_scenario_is_played_by_the_same_processes_with_the_same_bits(cluster):
    first, second = toy(SplitFedV2()), toy(SplitFedV1(), model=ToyCnn("V1"), seed=7)
    with ActorPool() as actor_pool:
        digest, pids = on_ray(first, cluster, actor_pool)
        again, same = on_ray(second, cluster, actor_pool, "pooled")
        third, fewer = on_ray(toy(FedAvg()), cluster, actor_pool)
        assert digest == play(first).digest and again == play(second).digest and third == play(toy(FedAvg())).digest
        assert pids == same and fewer < pids, "the server was not needed"
    assert not any(alive(pid) for pid in pids)


def test_idle_actors_end_where_others_need_their_cores(cluster):
    wide = toy(SplitFedV1(), clients=6, groups=6)
    room = Wanted(hosts=4, servers=4, placement="pooled")
    with ActorPool() as actor_pool:
        with RayEngine(wide, lay_out(wide, cluster, room), actor_pool) as engine:
            servers = {pid for name, pid in engine.pids.items() if name.startswith("server")}
        assert len(servers) == 4 and all(alive(pid) for pid in servers), "idle, but there is no need of their cores"
        scenario = toy(FedAvg(), clients=6, groups=6)
        with RayEngine(scenario, lay_out(scenario, cluster, Wanted(hosts=6)), actor_pool) as engine:
            assert len(engine.pids) == 6
        assert not any(alive(pid) for pid in servers)


def test_actors_of_an_engine_that_failed_play_no_more(cluster):
    scenario = toy(FedAvg())
    with ActorPool() as actor_pool:
        with pytest.raises(RuntimeError, match="in mid-round"):  # noqa: SIM117
            with RayEngine(scenario, lay_out(scenario, cluster, Wanted(1)), actor_pool) as engine:
                pids = set(engine.pids.values())
                raise RuntimeError("in mid-round")
        assert not any(alive(pid) for pid in pids)
        _, fresh = on_ray(scenario, cluster, actor_pool)
        assert not fresh & pids
    assert ray.is_initialized()
