"""On real Ray: the same bits as the local engine, whatever the layout and whoever dies."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from raysplit import Cohort, Detection, LabelScreen, Observe, SafeSplit, SmashedNoise, SmashedScreen
from raysplit.aggregation.rules.mean import Mean
from raysplit.aggregation.rules.median import Median
from raysplit.attacks.messages.message_attack import MessageAttack, client_threat
from raysplit.channels.channel import Channel, ThreatModel
from raysplit.engine.placement import Wanted, lay_out
from raysplit.engine.ray.actors import Packed, to_arrays
from raysplit.engine.ray.ray_engine import RayEngine
from raysplit.engine.ray.wire import CALL_TIMEOUT_S
from raysplit.errors import UserError
from raysplit.memory.memory import by_client
from raysplit.parts.part import part
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.outcome import Outcome
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.training.failures import ClientFailure
from raysplit.training.optimizers import Adam
from tests.attacks.inference.test_observe import same
from tests.engine.faults import Assassin, FaultyClients, alive, arm_after
from tests.toys import FrozenCnn, play, toy


@part
class Cropping(MessageAttack):
    """An attack on smashed data that breaks its contract."""

    start_round: int = 1

    @property
    def threat_model(self) -> ThreatModel:
        return client_threat(Channel.SMASHED)

    def alter(self, message, view):
        return replace(message, tensor=message.tensor[:, :1])


DETERMINISTIC = {
    "rounds": ["round", "train_loss", "train_accuracy", "samples", "update_norm"],
    "clients": ["round", "client", "samples", "steps", "train_loss", "train_accuracy"],
    "channels": ["round", "channel", "messages", "bytes", "label_bytes"],
    "evaluations": ["round", "clients", "samples", "loss", "accuracy", "client_accuracy_p10"],
    "client_evaluations": ["round", "client", "samples", "correct", "loss"],
}


@contextmanager
def ray_engine(scenario, cluster, hosts, placement="auto", servers=None) -> Iterator[RayEngine]:
    """A Ray engine for a ``with``, by the cluster's pool of actors; without one, none of its processes may run after
    it."""
    layout = lay_out(scenario, cluster, Wanted(hosts=hosts, servers=servers, placement=placement))
    pids: set[int] = set()
    with RayEngine(scenario, layout, cluster.actor_pool) as engine:
        pids.update(engine.pids.values())
        assert len(pids) == layout.hosts + layout.servers and all(alive(pid) for pid in pids)
        yield engine
        pids.update(engine.pids.values())
    assert cluster.actor_pool is not None or not [pid for pid in pids if alive(pid)]


def test_an_engine_without_a_pool_of_actors_leaves_no_process_behind(cluster):
    cluster.actor_pool.make_room(cluster.cpus, cluster.gpus)
    with ray_engine(toy(SplitFedV2()), replace(cluster, actor_pool=None), 2, "pooled") as engine:
        pids = list(engine.pids.values())
    assert len(pids) == 3 and not any(alive(pid) for pid in pids)


def assert_same(played, reference):
    assert played.digest == reference.digest
    for table, columns in DETERMINISTIC.items():
        assert played.tables[table].select(columns) == reference.tables[table].select(columns), table
    for client, kept in by_client(reference.state.memory, "optimizer").items():
        assert all(
            by_client(played.state.memory, "optimizer")[client][name].equal(tensor) for name, tensor in kept.items()
        )


@pytest.mark.parametrize(
    "protocol,cut,tail,hosts,placement,servers",
    [
        (FedAvg(), None, None, 2, "colocated", None),
        (SplitFedV1(), "V2", None, 1, "colocated", None),
        (SplitFedV1(), "V2", None, 2, "colocated", None),
        pytest.param(SplitFedV1(), "V2", None, 4, "colocated", None, marks=pytest.mark.slow),
        pytest.param(SplitFedV1(), "V1", None, 3, "pooled", 2, marks=pytest.mark.slow),
        (SplitFedV1(u_shaped=True), "V1", "fc1", 2, "pooled", 1),
        (SplitFedV2(), "V2", None, 1, "colocated", None),
        (SplitFedV2(), "V2", None, 3, "pooled", None),
        (SplitFedV2("client_major"), "V1", None, 2, "pooled", None),
        (SplitFedV2(u_shaped=True), "V1", "fc1", 2, "pooled", None),
        (SplitLearning(), "V2", None, 1, "pooled", None),
    ],
)
def test_ray_gives_the_bits_of_the_local_engine(cluster, protocol, cut, tail, hosts, placement, servers):
    # client_major stands for all with rows gathered for a robust rule instead of sums
    defense = Median() if protocol == SplitFedV2("client_major") else Mean()
    scenario = toy(protocol, cut, tail, defense=defense, training__optimizer=Adam(), training__lr=0.01)
    with ray_engine(scenario, cluster, hosts, placement, servers) as engine:
        described = engine.describe()
        played = play(scenario, engine)
    assert described["hosts"] == hosts and described["placement"] == placement
    assert_same(played, play(scenario))


@pytest.mark.parametrize(("stages", "placement"), [(("conv1", "conv2"), "pooled"), (("fc1", "fc2"), "colocated")])
def test_a_portion_with_nothing_to_learn_gives_the_bits_of_the_local_engine(cluster, stages, placement):
    protocol = SplitFedV2() if placement == "pooled" else SplitFedV1()
    scenario = toy(protocol, model=FrozenCnn("V2", None, True, stages, True), training__rounds=1)
    with ray_engine(scenario, cluster, 2, placement) as engine:
        assert_same(play(scenario, engine), play(scenario))


def test_kept_client_states_come_back_from_hosts(cluster):
    scenario = toy(SplitFedV1(), training__client_state="per_client", training__rounds=3)
    with ray_engine(scenario, cluster, 2) as engine:
        played = play(scenario, engine)
    assert_same(played, play(scenario))
    assert sum(len(state) for state in by_client(played.state.memory, "optimizer").values()) == 6 * 4


def test_kept_client_states_are_copies_of_what_lies_in_rays_store():
    """A view into the store would pin a round's whole outcome for as long as any of its clients' states is kept."""
    outcome = Outcome()
    outcome.memory["client/7/optimizer"] = {"0.momentum_buffer": torch.randn(5)}
    stored = Packed(to_arrays(outcome), 0)
    merged = RayEngine._merge(SimpleNamespace(_peak=0), [stored])
    kept, lying = (
        merged.memory["client/7/optimizer"]["0.momentum_buffer"],
        stored.outcome.memory["client/7/optimizer"]["0.momentum_buffer"],
    )
    assert kept.numpy().tolist() == lying.array.tolist()
    assert not np.shares_memory(kept.numpy(), lying.array)


def test_ray_calls_a_round_grow_with_hosts_and_not_with_clients(cluster):
    scenario = toy(SplitFedV2(), clients=30, evaluation__clients=None)
    with ray_engine(scenario, cluster, 2, "pooled") as engine:
        played = play(scenario, engine)
    assert played.tables["rounds"].column("ray_calls").to_pylist()[1] <= 2 * 2 + 1
    assert_same(played, play(scenario))


def faulty(protocol, tmp_path, client=4, fault="halt"):
    population = FaultyClients(6, folder=str(tmp_path), client=client, fault=fault)
    return toy(protocol, population=population, training__rounds=3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "protocol,placement,victim",
    [
        (SplitFedV1(), "colocated", "host-0"),
        (SplitFedV2(), "pooled", "host-0"),
        (SplitFedV2(), "pooled", "server-0"),
        (SplitFedV1(), "pooled", "server-0"),
    ],
)
def test_a_process_killed_in_the_middle_of_a_round_changes_no_bit(cluster, tmp_path, protocol, placement, victim):
    """Nor what an adversary observes in it: what hosts noted before the kill is noted once."""
    observe = Observe((1, 2), ("smashed", "cut_gradients"))
    scenario = faulty(protocol, tmp_path).replace(observe=observe)
    with ray_engine(scenario, cluster, 2, placement, servers=1) as engine:
        pid = engine.pids[victim]
        with Assassin(tmp_path, pid) as assassin:
            played = play(scenario, engine, watch=arm_after(tmp_path, 1))
        assert engine.pids[victim] != pid, "it was replaced"
    assert assassin.struck and not alive(pid)
    assert played.tables["rounds"].column("retries").to_pylist()[0] == 0
    assert played.tables["rounds"].column("retries").to_pylist()[1] >= 1
    here = play(toy(protocol, training__rounds=3, observe=observe))
    assert_same(played, here)
    assert same(played.observations, here.observations) and len(here.observations) > 8


@pytest.mark.slow
def test_what_leaks_from_a_hundred_clients_a_round_is_the_same_bits_though_a_host_is_killed(cluster, tmp_path):
    observe = Observe((1, 2, 3), ("smashed", "cut_gradients"), max_samples=8)
    changes = {"cohort": Cohort(100), "training.rounds": 3, "observe": observe}
    scenario = toy(SplitFedV2()).replace(population=FaultyClients(130, folder=str(tmp_path), client=4), **changes)
    with ray_engine(scenario, cluster, 2, "pooled", servers=1) as engine:
        assassin = Assassin(tmp_path, engine.pids["host-0"])
        with assassin:
            played = play(scenario, engine, watch=arm_after(tmp_path, 1))
    assert assassin.struck and played.tables["rounds"].column("retries").to_pylist()[1:] != [0, 0]
    here = play(toy(SplitFedV2(), clients=130).replace(**changes))
    assert_same(played, here)
    assert same(played.observations, here.observations)
    assert len({(o.round, o.client) for o in here.observations}) == 300


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["host-0", "server-0"])
@pytest.mark.parametrize(
    ("order", "detection"),
    [
        ("interleaved", Detection((SmashedScreen(), LabelScreen()))),
        ("client_major", Detection((SmashedScreen(),), SafeSplit(least=3, window=4))),
    ],
)
def test_a_process_killed_while_visits_are_judged_changes_no_verdict(cluster, tmp_path, order, detection, victim):
    """What detectors remember goes back with the round: a visit that is played twice is judged as if for the first
    time."""
    lied = {"cohort": Cohort(6, 0.34, "cohort"), "attack": SmashedNoise(3.0), "detection": detection}
    scenario = faulty(SplitFedV2(order), tmp_path).replace(**lied)
    with (
        ray_engine(scenario, cluster, 2, "pooled", servers=1) as engine,
        Assassin(tmp_path, engine.pids[victim]) as assassin,
    ):
        played = play(scenario, engine, watch=arm_after(tmp_path, 1))
    assert assassin.struck and played.tables["rounds"].column("retries").to_pylist()[1] >= 1
    alone = play(toy(SplitFedV2(order), training__rounds=3).replace(**lied))
    assert_same(played, alone)
    verdicts = [name for name in played.tables["detection"].column_names if name != "seconds"]
    assert played.tables["detection"].num_rows > 0
    assert played.tables["detection"].select(verdicts) == alone.tables["detection"].select(verdicts)


@pytest.mark.slow
def test_a_host_that_dies_between_rounds_is_replaced_at_once(cluster):
    """Its server must not wait a minute for a call that never comes."""
    scenario = toy(SplitFedV2(), training__rounds=3, evaluation__every=3)
    with ray_engine(scenario, cluster, 2, "pooled") as engine:

        def kill(report):
            if report.round == 1:
                os.kill(engine.pids["host-1"], signal.SIGKILL)
                while alive(engine.pids["host-1"]):
                    time.sleep(0.01)

        began = time.monotonic()
        played = play(scenario, engine, watch=kill)
        seconds = time.monotonic() - began
    assert played.retries() >= 1
    assert_same(played, play(scenario))
    assert seconds < CALL_TIMEOUT_S


@pytest.mark.parametrize("protocol,placement", [(SplitFedV1(), "colocated"), (SplitFedV2(), "pooled")])
def test_an_exception_inside_a_client_reaches_the_caller_with_round_client_and_message(
    cluster, tmp_path, protocol, placement
):
    scenario = faulty(protocol, tmp_path, client=3, fault="raise")
    with ray_engine(scenario, cluster, 2, placement) as engine:
        with pytest.raises(ClientFailure) as caught:
            play(scenario, engine, watch=arm_after(tmp_path, 1))
        assert (caught.value.round, caught.value.client) == (2, 3)
        assert re.fullmatch(
            r"round 2, client 3, on host [01] \(.*\): ValueError: these samples are cursed", str(caught.value)
        )
        assert "in train\n" in caught.value.trace, "the original traceback came along"
        assert engine.counts().retries == 0, "the same client would fail again"


def test_a_mistake_of_the_users_inside_a_client_is_one_on_ray_too(cluster):
    """Of the kind that the command line answers with a sentence and exit code 2."""
    scenario = toy(SplitFedV2(), cohort=Cohort(6, 0.34, "cohort"), attack=Cropping())
    with ray_engine(scenario, cluster, 2, "pooled") as engine, pytest.raises(UserError) as caught:
        play(scenario, engine)
    assert isinstance(caught.value, ClientFailure)
    assert re.fullmatch(
        r"round 1, client \d, on host [01] \(.*\): Cropping.alter\(\) must return a tensor like the one it got.*",
        str(caught.value),
    )


def test_evaluation_is_dealt_over_hosts_and_comes_back_in_order(cluster):
    """More clients than one chunk: 120 test sets, the same batches as on one host."""
    scenario = toy(FedAvg(), population__clients=120, evaluation__clients=None, training__rounds=1)
    with ray_engine(scenario, cluster, 2) as engine:
        played = play(scenario, engine)
    assert played.tables["evaluations"].column("clients").to_pylist() == [120]
    assert_same(played, play(scenario))
