"""On real Ray: who hangs is named, killed and replaced, and the bits stay; who hangs again at the same client ends the
run with a sentence and can be resumed."""

from __future__ import annotations

import re
import signal
from contextlib import contextmanager
from dataclasses import replace

import pytest

from raysplit.app.running.engine_choice import Cluster, EngineChoice
from raysplit.app.running.runner import Watch, job_of
from raysplit.app.running.runner import play as play_job
from raysplit.engine.placement import Wanted, lay_out
from raysplit.engine.ray import staff
from raysplit.engine.ray.ray_engine import RayEngine
from raysplit.errors import ClusterError, UserError
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.training.failures import ClientFailure
from tests.engine.faults import Assassin, alive, arm_after
from tests.engine.test_ray_engine import assert_same, faulty
from tests.toys import play, toy

DEADLINE_S = 2.0


@contextmanager
def on_time(scenario, cluster, placement):
    layout = lay_out(scenario, cluster, Wanted(hosts=2, placement=placement))
    with RayEngine(scenario, layout, cluster.actor_pool, deadline=DEADLINE_S) as engine:
        yield engine


def test_a_process_that_is_stopped_in_the_middle_of_a_round_is_replaced_and_changes_no_bit(cluster, tmp_path, caplog):
    scenario = faulty(SplitFedV2(), tmp_path)
    with on_time(scenario, cluster, "pooled") as engine:
        pid = engine.pids["host-0"]
        with Assassin(tmp_path, pid, signal.SIGSTOP) as assassin:
            played = play(scenario, engine, watch=arm_after(tmp_path, 1))
        assert assassin.struck and engine.pids["host-0"] != pid and not alive(pid)
    assert played.retries() >= 1
    who = rf"host 0 \(pid {pid}, node 127.0.0.1\)"
    assert re.search(
        rf"(round 2|an evaluation) lost an actor and is played again: {who} did not answer within its", caplog.text
    )
    assert_same(played, play(toy(SplitFedV2(), training__rounds=3)))


def test_a_client_that_never_ends_ends_the_run_with_its_name_and_the_run_can_be_resumed(cluster, tmp_path):
    scenario = faulty(SplitFedV1(), tmp_path, client=3, fault="endless").replace(checkpoint_every=5)
    job = job_of(scenario, tmp_path / "runs")
    choice = EngineChoice(hosts=2, placement="colocated", deadline=DEADLINE_S)
    here = Cluster(cluster, cluster.actor_pool)
    with pytest.raises(UserError) as caught:
        play_job(job, choice, here, Watch(round=arm_after(tmp_path, 1)), "continue")
    assert isinstance(caught.value, ClientFailure) and (caught.value.round, caught.value.client) == (2, 3)
    assert re.fullmatch(
        r"round 2, client 3, on host [01] \(pid \d+, node 127.0.0.1\): ended no step within the deadline of [\d.]+ s, "
        r"twice, and was at faults.py:\d+, in train; mend that, or allow more time with --deadline; the run can be "
        "resumed",
        str(caught.value),
    )
    assert job.folder.state()["status"] == "interrupted" and job.folder.state()["rounds"] == 1
    (tmp_path / "armed").unlink()
    ended = play_job(job, EngineChoice(engine="local"), None, Watch(), "continue")
    assert ended.digest == play(toy(SplitFedV1(), training__rounds=3)).digest


def test_a_cluster_that_grants_no_actor_is_a_sentence(cluster, monkeypatch):
    monkeypatch.setattr(staff, "START_TIMEOUT_S", 0.3)
    monkeypatch.setattr(staff, "ANSWER_S", 0.3)
    scenario = toy(FedAvg())
    without_gpus = replace(lay_out(scenario, cluster, Wanted(hosts=2)), gpus_per_host=0.5)
    with pytest.raises(ClusterError, match=r"^2 of 2 client hosts found no room within 0.3 s \(free: .*\); use fewer"):
        RayEngine(scenario, without_gpus)
