"""Machines are dealt to clients once and for all; who is late is decided by them alone."""

import numpy as np
import pytest

import raysplit
from raysplit.aggregation.fed_server import sum_groups
from raysplit.attacks.updates.sign_flip import SignFlip
from raysplit.costs.clock import Clock
from raysplit.engine.local import LocalEngine
from raysplit.errors import ScenarioError
from raysplit.population.selection.cohort import Cohort, Participation, SampledCohort
from raysplit.protocols.centralized import Centralized
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.loss_drop import AsyncSplitFed
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.scenario.devices import (
    LAPTOP,
    PHONE,
    SENSOR,
    DeviceClass,
    DeviceClasses,
    DeviceProfile,
    Devices,
    LogNormalDevices,
)
from raysplit.scenario.layout import Layout
from raysplit.scenario.stragglers import Buffer, Deadline, Drop, Wait
from raysplit.simulation.planning import make_plan
from tests.costs.plans import plan_of
from tests.toys import play, toy

MIXED = DeviceClasses((DeviceClass(0.2, SENSOR), DeviceClass(0.5, PHONE), DeviceClass(0.3, LAPTOP)))


def test_classes_are_dealt_in_their_shares():
    devices = Devices(clients=MIXED)
    names = [devices.of(42, client).name for client in range(3000)]
    assert {name: names.count(name) / 3000 for name in sorted(set(names))} == pytest.approx(
        {"laptop": 0.3, "phone": 0.5, "sensor": 0.2}, abs=0.03
    )


def test_log_normal_speeds_have_the_asked_median_and_spread():
    devices = Devices(clients=LogNormalDevices(PHONE, compute_sigma=0.3, bandwidth_sigma=0.6))
    sampled = [devices.of(42, client) for client in range(2000)]
    logs = np.log([[d.flops / PHONE.flops, d.up / PHONE.up, d.down / PHONE.down] for d in sampled])
    assert np.abs(np.median(logs, axis=0)).max() < 0.04
    assert logs.std(axis=0) == pytest.approx([0.3, 0.6, 0.6], rel=0.06)
    assert np.abs(logs[:, 1] - logs[:, 2]).max() < 1e-12  # one factor for a client's link


def test_a_client_keeps_its_machine():
    """Whatever the cohort, the round and the other clients; another seed deals anew."""
    devices = Devices(clients=LogNormalDevices(PHONE))
    assert devices.of(42, 7) == devices.of(42, 7) != devices.of(42, 8)
    assert devices.of(42, 7) != devices.of(43, 7)
    small, large = toy(FedAvg(), devices=devices), toy(FedAvg(), clients=9, devices=devices)
    times = [play(s).tables["times"].to_pylist() for s in (small, large)]
    down = [{row["client"]: row["down_s"] for row in rows} for rows in times]
    assert all(down[0][client] == down[1][client] for client in range(6))


@pytest.mark.parametrize("field", ["flops", "up", "down"])
@pytest.mark.parametrize("value", [0, -1.0, float("inf"), float("nan")])
def test_impossible_machines_are_refused(field, value):
    with pytest.raises(ScenarioError, match=f"DeviceProfile.{field} must be a number above 0"):
        DeviceProfile(**{"flops": 1, "up": 1, "down": 1, field: value})


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: DeviceProfile(1, 1, 1, latency=-1), "latency must be at least 0 seconds"),
        (lambda: DeviceClasses(()), "add up to 1, but they are none"),
        (lambda: DeviceClasses((DeviceClass(0.5, PHONE), DeviceClass(0.4, LAPTOP))), "but they are 0.5, 0.4"),
        (lambda: DeviceClasses((DeviceClass(1.5, PHONE), DeviceClass(-0.5, LAPTOP))), "above 0"),
        (lambda: LogNormalDevices(PHONE, compute_sigma=-1), "compute_sigma must lie in 0 … 5"),
        (lambda: Devices(replicas_at_once=0), "replicas_at_once must be at least 1 or None"),
        (lambda: Deadline(0), "Deadline.seconds must be above 0"),
        (lambda: Drop(1), "Drop.slowest is a share"),
        (lambda: Buffer(0), "Buffer.first must be at least 1"),
        (
            lambda: toy(AsyncSplitFed(), devices=Devices()),
            "AsyncSplitFed has synchrony='loss_drop', .* leave Scenario.devices out",
        ),
        (lambda: toy(SplitLearning(), devices=Devices(stragglers=Deadline(5))), "SplitLearning gathers no updates"),
        (lambda: toy(Centralized(), devices=Devices(stragglers=Drop(0.1))), "Centralized gathers no updates"),
        (lambda: toy(FedAvg(), devices=Devices(stragglers=Buffer(7))), "waits for 7 reports, but Cohort.size is 6"),
    ],
)
def test_mistakes_are_one_sentence(build, sentence):
    with pytest.raises(ScenarioError, match=sentence):
        build()


def test_devices_are_part_of_the_scenario_and_its_hash():
    assert toy(FedAvg(), devices=Devices()).hash != toy(FedAvg()).hash
    assert toy(FedAvg(), devices=Devices(clients=MIXED)).to_json()["devices"]["clients"]["type"] == "DeviceClasses"
    for name in ("Devices", "DeviceClasses", "LogNormalDevices", "Deadline", "PHONE", "DATACENTER"):
        assert getattr(raysplit, name) is not None


@pytest.mark.parametrize("protocol", [Centralized(), FedAvg(), SplitLearning(), SplitFedV1(), SplitFedV2()], ids=repr)
def test_devices_change_no_weight(protocol):
    with_devices = play(toy(protocol, devices=Devices(clients=MIXED)))
    without = play(toy(protocol))
    assert with_devices.digest == without.digest
    assert without.tables["times"].num_rows == 0
    assert without.tables["rounds"].column("virtual_s").to_pylist() == [None, None]
    assert all(seconds > 0 for seconds in with_devices.tables["rounds"].column("virtual_s").to_pylist())


SPREAD = LogNormalDevices(PHONE, 1.0, 1.0)
AVERAGING = [FedAvg(), SplitFedV1(), SplitFedV2(), SplitFedV2("client_major")]


def alone_of(scenario):
    """Client id → seconds that it needs alone, in round 1."""
    clock, plan = Clock.of(scenario), plan_of(scenario)
    return {int(client): clock.single_client_time(plan, p).finish_s for p, client in enumerate(plan.clients)}


def first_round(played):
    rows = [row for row in played.tables["times"].to_pylist() if row["round"] == 1]
    trained = [
        row["client"] for row in played.tables["clients"].to_pylist() if row["round"] == 1 and not row["dropped"]
    ]
    left = {row["client"]: row for row in rows if row["left_out"] is not None}
    took_part = {row["client"]: row for row in rows if row["left_out"] is None}
    assert sorted(took_part) == sorted(trained)
    return took_part, left, played.tables["rounds"].to_pylist()[0]


@pytest.mark.parametrize("protocol", AVERAGING, ids=repr)
def test_the_slowest_share_is_dropped_and_nobody_waits_for_it(protocol):
    scenario = toy(protocol, devices=Devices(clients=SPREAD, stragglers=Drop(0.4)))
    alone = alone_of(scenario)
    _, left, row = first_round(play(scenario))
    slowest = sorted(alone, key=alone.__getitem__)[-2:]
    assert sorted(left) == sorted(slowest)
    assert {r["left_out"] for r in left.values()} == {"Drop"}
    assert all(left[client]["finish_s"] == alone[client] for client in left)
    assert row["clients"] == 4
    everybody = play(toy(protocol, devices=Devices(clients=SPREAD))).tables["rounds"].to_pylist()[0]
    assert row["virtual_s"] < everybody["virtual_s"]


@pytest.mark.parametrize("protocol", AVERAGING, ids=repr)
def test_a_deadline_leaves_out_as_few_as_it_must_and_is_waited_for(protocol):
    wait = toy(protocol, devices=Devices(clients=SPREAD))
    alone = sorted(alone_of(wait).values())
    seconds = (alone[3] + alone[4]) / 2
    took_part, left, row = first_round(
        play(toy(protocol, devices=Devices(clients=SPREAD, stragglers=Deadline(seconds))))
    )
    assert all(r["finish_s"] <= seconds for r in took_part.values())
    assert {r["left_out"] for r in left.values()} == {"Deadline"}
    assert row["virtual_s"] >= seconds
    if protocol.server != "shared":
        assert all(r["finish_s"] > seconds for r in left.values()) and len(left) == 2
    generous = play(toy(protocol, devices=Devices(clients=SPREAD, stragglers=Deadline(1e6))))
    assert generous.tables["rounds"].select(["virtual_s"]) == play(wait).tables["rounds"].select(["virtual_s"])


@pytest.mark.parametrize("protocol", AVERAGING, ids=repr)
def test_a_buffer_takes_the_first_reports(protocol):
    scenario = toy(protocol, devices=Devices(clients=SPREAD, stragglers=Buffer(2)))
    alone = alone_of(scenario)
    took_part, left, row = first_round(play(scenario))
    assert sorted(took_part) == sorted(sorted(alone, key=alone.__getitem__)[:2])
    assert len(left) == 4 and row["clients"] == 2
    assert row["samples"] == sum(3 + 7 * client % 11 for client in took_part)


def test_what_is_left_trains_as_if_nobody_else_had_been_drawn():
    """A round of six without its slowest is a round of the five others, bit for bit."""
    scenario = toy(FedAvg(), training__rounds=1, devices=Devices(clients=SPREAD, stragglers=Drop(0.2)))
    dropped = play(scenario)
    took_part, left, _ = first_round(dropped)
    assert (len(took_part), len(left)) == (5, 1)
    five = SampledCohort(np.array(sorted(took_part)), np.zeros(5, dtype=bool))
    nobody = five.where(five.malicious)
    plan = make_plan(scenario, scenario.population.open(), 1, Participation(five, nobody, nobody))
    start = Layout(scenario).initial()
    with LocalEngine(scenario) as engine:
        outcome = engine.train(plan, start)
    assert bool((sum_groups(outcome.client_sums) == dropped.state.client).all())


def test_a_deadline_that_nobody_meets_says_how_long_they_need():
    with pytest.raises(ScenarioError, match=r"Deadline leaves nobody in round 1: the fastest client .* needs 0\.0.* s"):
        play(toy(FedAvg(), devices=Devices(stragglers=Deadline(1e-6))))


def test_malicious_clients_may_be_late_too():
    scenario = toy(
        FedAvg(),
        clients=10,
        cohort=Cohort(10, malicious=0.4),
        attack=SignFlip(),
        devices=Devices(clients=SPREAD, stragglers=Drop(0.5)),
    )
    played = play(scenario)
    rows = [row for row in played.tables["clients"].to_pylist() if row["round"] == 1 and not row["dropped"]]
    assert len(rows) == 5
    everybody = play(scenario.replace(devices=None)).tables["clients"].to_pylist()
    truth = {row["client"]: row["malicious"] for row in everybody}
    assert all(row["malicious"] == truth[row["client"]] for row in rows)
    assert played.tables["rounds"].to_pylist()[0]["malicious"] == sum(row["malicious"] for row in rows)


@pytest.mark.parametrize("policy", [Wait(), Drop(0.3), Buffer(4)], ids=repr)
def test_a_resumed_run_has_the_same_virtual_time(policy):
    scenario = toy(SplitFedV2(), clients=12, cohort__size=6, devices=Devices(clients=MIXED, stragglers=policy))
    whole = play(scenario)
    half = play(scenario.replace(**{"training.rounds": 1}))
    rest = play(scenario, start=half.state)
    for table in ("times", "rounds"):
        columns = ["virtual_s"] if table == "rounds" else whole.tables["times"].column_names
        rows = [[r for r in p.tables[table].to_pylist() if r["round"] == 2] for p in (whole, rest)]
        assert [[r[c] for c in columns] for r in rows[0]] == [[r[c] for c in columns] for r in rows[1]]
    assert rest.digest == whole.digest
