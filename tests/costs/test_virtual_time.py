"""Virtual time: by hand for two clients with two batches each, and what must hold for any numbers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysplit.channels.channel import Channel
from raysplit.costs.portions import CutCosts, PortionCosts
from raysplit.costs.thapa2022 import Setting, fl, second_cut, sflv1, sflv2, sl
from raysplit.costs.traffic import predicted_bytes
from raysplit.errors import ScenarioError
from raysplit.protocols.centralized import Centralized
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.scenario.devices import DeviceProfile, Devices
from tests.costs.plans import (
    DEVICES,
    SERVER,
    SLOW_COMPUTE,
    SLOW_DOWN,
    SPLIT,
    U_SHAPED,
    UNCUT,
    bare_plan,
    timed,
)
from tests.toys import toy

TWO = [4, 3]  # batches of 2 and 2, of 2 and 1
MACHINES = [SLOW_DOWN, SLOW_COMPUTE]
# 25 floats of a portion, 100 bytes:      first client            second client
DOWN = (0.5 + 100 / 4, 0.25 + 100 / 8)  # 25.5                    12.75
UP = (0.5 + 100 / 8, 0.25 + 100 / 24)  #  13                      4.4167
# 2 samples of smashed data with labels are 24 bytes, of cut gradients 8; 1 sample 12 and 4.
OUT = (
    (2 / 1 + 0.5 + 3, 2 / 1 + 0.5 + 3),
    (4 / 1 + 0.25 + 1, 2 / 1 + 0.25 + 0.5),
)  # forward and send: 5.5, 5.5; 5.25, 2.75
SERVED = ((1.0, 1.0), (1.0, 0.5))  # 10 FLOPs a sample at 20 FLOP/s
BACK = ((0.5 + 2 + 3, 0.5 + 2 + 3), (0.25 + 1 + 6, 0.25 + 0.5 + 3))  # receive and backward: 5.5, 5.5; 7.25, 3.75
ROUND = 10  # in which the stream deals the visits as the test below says


def named(value):
    """A name without an address, alike in every process."""
    return getattr(value, "__name__", None) or repr(value)


def close(expected):
    return pytest.approx(expected, rel=1e-12, abs=1e-12)


def finishes(time):
    return [client.finish_s for client in time.clients]


def test_fedavg_is_the_slowest_client_and_averaging():
    time = timed(toy(FedAvg(), training__batch_size=2), TWO, MACHINES, UNCUT)
    client_times = [DOWN[0] + 4 * 5 / 2 + UP[0], DOWN[1] + 3 * 5 / 1 + UP[1]]
    assert finishes(time) == close(client_times)
    assert [c.wait_s for c in time.clients] == [0, 0]
    assert time.round_s() == close(max(client_times) + 2 * 2 * 25 / 50)


def test_centralised_is_the_servers_computing():
    time = timed(toy(Centralized(), training__batch_size=2), [7], [SLOW_DOWN], UNCUT)
    assert time.round_s() == close(7 * 5 / 20)


def test_replicas_run_side_by_side_and_both_servers_average():
    time = timed(toy(SplitFedV1(), training__batch_size=2), TWO, MACHINES)
    first = DOWN[0] + 2 * (5.5 + 1 + 5.5)
    second = DOWN[1] + (5.25 + 1 + 7.25) + (2.75 + 0.5 + 3.75)
    assert finishes(time) == close([first + UP[0], second + UP[1]])
    assert [c.wait_s for c in time.clients] == close([2.0, 1.5])
    assert time.server_s == close(first - 5.5)
    # The main server averages 50 floats of two replicas at 20 FLOP/s, the fed server 25 at 50.
    assert time.round_s() == close(max(first + UP[0] + 2, first - 5.5 + 10))
    assert time.round_s() == close(64.5)


def test_replicas_queue_where_the_server_computes_one_step_at_a_time():
    """Two equal clients: the second waits for the first one's step, and from then on they are out of step."""
    one = replace(DEVICES, replicas_at_once=1)
    time = timed(toy(SplitFedV1(), training__batch_size=2), [4, 4], [SLOW_DOWN] * 2, devices=one)
    alone = DOWN[0] + 24 + UP[0]
    assert finishes(time) == close([alone, alone + 1])
    assert [c.wait_s for c in time.clients] == close([2.0, 3.0])
    free = timed(toy(SplitFedV1(), training__batch_size=2), [4, 4], [SLOW_DOWN] * 2)
    assert finishes(free) == close([alone, alone])


def test_a_shared_portion_serves_interleaved_visits_in_the_plans_order():
    scenario = toy(SplitFedV2(), training__batch_size=2)
    plan = bare_plan(scenario, TWO, round=ROUND)
    assert [tuple(v) for v in plan.split_steps(scenario.protocol)] == [(0, 0), (1, 0), (1, 1), (0, 1)]
    time = timed(scenario, TWO, MACHINES, round=ROUND)
    served = DOWN[0] + 5.5 + 1  # 32: the first client's first step
    other = served + 1  # the second's, which has waited since 18
    other = max(other, other + 7.25 + 2.75) + 0.5  # and its second, for which the server waits
    again = max(other, served + 5.5 + 5.5) + 1
    assert finishes(time) == close([again + 5.5 + UP[0], other + 3.75 + UP[1]])
    assert finishes(time) == close([63.0, 47.25 + UP[1]])
    assert time.clients[1].wait_s == close((33 - 18) + 0.5)
    assert time.round_s() == close(63.0 + 2)


def test_client_major_visits_come_one_client_after_another():
    scenario = toy(SplitFedV2("client_major"), training__batch_size=2)
    rounds = [r for r in range(1, 9) if bare_plan(scenario, TWO, r).split_steps(scenario.protocol)[0].position == 0]
    time = timed(scenario, TWO, MACHINES, round=rounds[0])
    first = DOWN[0] + 5.5 + 1 + 5.5 + 5.5 + 1  # 44: the server is free
    second = first + 1 + 7.25 + 2.75 + 0.5 + 3.75  # its smashed data have been there since 18
    assert finishes(time) == close([first + 5.5 + UP[0], second + UP[1]])
    assert finishes(time)[1] == close(59.25 + UP[1])


@pytest.mark.parametrize(("handover", "hops"), [("central", 2), ("peer_to_peer", 1)])
def test_split_learning_is_a_chain(handover, hops):
    scenario = toy(SplitLearning(handover, "fixed"), training__batch_size=2)
    time = timed(scenario, TWO, MACHINES)
    if hops == 2:
        first = DOWN[0] + 24 + UP[0]
        second = first + DOWN[1] + 13.5 + 7 + UP[1]
        assert time.clients[1].wait_s == close(first + 1.5)
    else:
        first = 24 + (0.75 + 100 / 8)  # from the first to the second
        second = first + 13.5 + 7 + (0.75 + 100 / 4)  # and on to the first again
        assert time.clients[1].wait_s == close(24 + 1.5)
        assert time.clients[0].down_s == close(2 * 2.5)
    assert finishes(time) == close([first, second])
    assert time.round_s() == close(second)


def test_a_u_shape_goes_there_and_back_twice():
    """First client, a batch of 2: forward 2, 8 bytes up 1.5, server 0.4, 16 bytes down 4.5, tail 2, 16 up 2.5, server
    0.6, 8 down 2.5, backward 3: 19 s."""
    time = timed(toy(SplitFedV1(u_shaped=True), "V1", "fc1", training__batch_size=2), TWO, MACHINES, U_SHAPED)
    second = (4 + 0.25 + 8 / 24) + 0.4 + 2.25 + 4 + (0.25 + 16 / 24) + 0.6 + 1.25 + 6
    third = (2 + 0.25 + 4 / 24) + 0.2 + 1.25 + 2 + (0.25 + 8 / 24) + 0.3 + 0.75 + 3
    assert finishes(time) == close([DOWN[0] + 2 * 19 + UP[0], DOWN[1] + second + third + UP[1]])


def test_a_u_shaped_visit_holds_the_shared_portion_until_its_second_half():
    scenario = toy(SplitFedV2(u_shaped=True), "V1", "fc1", training__batch_size=None)
    rounds = [r for r in range(1, 9) if bare_plan(scenario, [2, 2], r).split_steps(scenario.protocol)[0].position == 0]
    time = timed(scenario, [2, 2], MACHINES, U_SHAPED, round=rounds[0])
    free = DOWN[0] + 3.5 + 0.4 + 9 + 0.6  # 39; the second client's smashed data came at 17.3
    second = free + 0.4 + 2.25 + 4 + (0.25 + 16 / 24) + 0.6
    assert time.server_s == close(second)
    assert finishes(time) == close([free + 2.5 + 3 + UP[0], second + 1.25 + 6 + UP[1]])


profiles = st.builds(
    DeviceProfile,
    flops=st.floats(1, 1e3),
    up=st.floats(1, 1e3),
    down=st.floats(1, 1e3),
    latency=st.floats(0, 5),
)
split_costs = st.builds(
    lambda w, f, b, z: CutCosts(
        PortionCosts(w, 1, f, 2 * f), PortionCosts(3 * w, 0, b, 2 * b), PortionCosts(1, 0, 1, 2), z, z + 1, 4, 0
    ),
    st.integers(1, 99),
    st.integers(1, 99),
    st.integers(1, 99),
    st.integers(1, 9),
)
cohorts = st.lists(st.tuples(st.integers(1, 9), profiles), min_size=1, max_size=5)
SPLITS = [SplitLearning(), SplitFedV1(), SplitFedV2(), SplitFedV2("client_major")]
U_SPLITS = [SplitLearning(u_shaped=True), SplitFedV1(u_shaped=True), SplitFedV2(u_shaped=True)]
ALL = [FedAvg(), SplitLearning("peer_to_peer"), *SPLITS, *U_SPLITS]
QUICK = settings(max_examples=40, deadline=None)


def of(protocol, batch=2):
    cuts = ("V1", "fc1") if protocol.u_shaped else ("V2", None)
    return toy(protocol, *cuts, training__batch_size=batch)


@QUICK
@given(samples=st.integers(1, 9), machine=profiles, server=profiles, costs=split_costs, u_shaped=st.booleans())
def test_one_client_alone_takes_the_same_time_in_every_split_protocol(samples, machine, server, costs, u_shaped):
    devices = Devices(server=server, fed_server=server)
    found = [timed(of(p), [samples], [machine], costs, devices).clients[0] for p in (U_SPLITS if u_shaped else SPLITS)]
    for other in found[1:]:
        assert other.finish_s == close(found[0].finish_s)
        assert other.wait_s == close(found[0].wait_s)


@QUICK
@given(protocol=st.sampled_from(ALL), cohort=cohorts, server=profiles, costs=split_costs)
def test_a_clients_time_is_all_accounted_for(protocol, cohort, server, costs):
    samples, machines = [n for n, _ in cohort], [m for _, m in cohort]
    time = timed(of(protocol), samples, machines, costs, Devices(server=server, fed_server=server))
    for client in time.clients:
        assert client.down_s + client.compute_s + client.wait_s + client.up_s == close(client.finish_s)
        assert min(client.down_s, client.compute_s, client.wait_s, client.up_s) >= 0
    assert time.round_s() >= time.last_report_s


@QUICK
@given(
    protocol=st.sampled_from(ALL),
    cohort=cohorts,
    server=profiles,
    costs=split_costs,
    which=st.sampled_from(["flops", "up", "down"]),
    factor=st.floats(1, 100),
)
def test_a_faster_machine_never_makes_a_round_longer(protocol, cohort, server, costs, which, factor):
    samples, machines = [n for n, _ in cohort], [m for _, m in cohort]
    devices = Devices(server=server, fed_server=server)
    before = timed(of(protocol), samples, machines, costs, devices).round_s()
    machines[0] = replace(machines[0], **{which: getattr(machines[0], which) * factor})
    after = timed(of(protocol), samples, machines, costs, devices).round_s()
    assert after <= before * (1 + 1e-12)
    quicker = Devices(server=replace(server, **{which: getattr(server, which) * factor}), fed_server=server)
    assert timed(of(protocol), samples, machines, costs, quicker).round_s() <= after * (1 + 1e-12)


@QUICK
@given(
    protocol=st.sampled_from([FedAvg(), SplitFedV1(), SplitFedV1(u_shaped=True)]),
    cohort=cohorts,
    server=profiles,
    costs=split_costs,
    data=st.data(),
)
def test_where_clients_work_side_by_side_their_ids_mean_nothing(protocol, cohort, server, costs, data):
    order = data.draw(st.permutations(range(len(cohort))))
    devices = Devices(server=server, fed_server=server)
    times = []
    for dealt in (cohort, [cohort[i] for i in order]):
        times.append(timed(of(protocol), [n for n, _ in dealt], [m for _, m in dealt], costs, devices))
    assert [times[0].clients[i] for i in order] == list(times[1].clients)
    assert times[0].round_s() == times[1].round_s()


# Thapa et al., Table 2: transfers alone, then the order of the protocols.

EQUAL = DeviceProfile(flops=1e15, up=4.0, down=4.0)  # R = 1 float a second; computing takes no time worth counting
FREE = Devices(server=DeviceProfile(1e15, 1e9, 1e9), fed_server=DeviceProfile(1e15, 1e9, 1e9))


@pytest.mark.parametrize(
    ("protocol", "row"),
    [
        (FedAvg(), fl),
        (SplitLearning(), sl),
        (SplitFedV1(), sflv1),
        (SplitFedV2(), sflv2),
        (SplitLearning(u_shaped=True), sl),
        (SplitFedV1(u_shaped=True), sflv1),
    ],
    ids=named,
)
@pytest.mark.parametrize("k", [1, 4])
def test_transfers_take_the_time_of_table_two(protocol, row, k):
    """With T = T_fedavg = 0, equal clients and one batch each; labels, which the table leaves out, come on top."""
    samples = [5] * k
    whole = 75
    costs = UNCUT if protocol.server == "none" else U_SHAPED if protocol.u_shaped else SPLIT
    time = timed(of(protocol, None), samples, [EQUAL] * k, costs, FREE)
    setting = Setting(p=5 * k, q=1, beta=25 / 75, W=25 if protocol.server == "none" else whole, K=k, R=1.0)
    chain = protocol.client_sync == "handover"
    expected = row(setting).seconds
    if protocol.u_shaped:
        expected += second_cut(setting, 2, in_turn=chain).seconds
    elif protocol.server != "none":
        expected += 8 * 5 / 4 * (k if chain else 1)
    assert time.round_s() == pytest.approx(expected, rel=1e-9)


def seconds_of(protocol, k, devices, samples=100, batch=None):
    """A round of k equal phones on a cut of 25 | 50 floats."""
    client = DeviceProfile(flops=1e3, up=1e4, down=1e4)
    return timed(of(protocol, batch), [samples] * k, [client] * k, SPLIT, devices).round_s()


ONE_AT_A_TIME = Devices(
    server=DeviceProfile(2e3, 1e9, 1e9), fed_server=DeviceProfile(2e3, 1e9, 1e9), replicas_at_once=1
)


@pytest.mark.parametrize("k", [2, 5, 20, 100])
def test_thapas_order_holds_where_the_server_takes_one_step_at_a_time(k):
    """SFLV2 < SFLV1 < SL: equal clients, a client's set is one batch. For few clients SFLV1's replicas are averaged
    before the last client has reported, and costs nothing more.
    """
    v2, v1, chain = (seconds_of(p, k, ONE_AT_A_TIME) for p in (SplitFedV2(), SplitFedV1(), SplitLearning()))
    assert v2 <= v1 < chain
    assert (v2 < v1) == (k >= 20)


def test_and_the_gap_to_split_learning_grows_with_clients():
    gaps = [
        seconds_of(SplitLearning(), k, ONE_AT_A_TIME) - seconds_of(SplitFedV1(), k, ONE_AT_A_TIME)
        for k in (2, 5, 20, 100)
    ]
    assert gaps == sorted(gaps)


@pytest.mark.parametrize("k", [5, 20, 100])
def test_it_turns_round_where_the_server_steps_replicas_side_by_side(k):
    parallel = replace(ONE_AT_A_TIME, replicas_at_once=None)
    assert seconds_of(SplitFedV1(), k, parallel) < seconds_of(SplitFedV2(), k, parallel)


def test_and_where_few_clients_have_many_small_batches_in_random_order():
    """The shared portion waits for whoever is next in the order, even if others are ready."""
    small = {"samples": 100, "batch": 5}
    assert seconds_of(SplitFedV1(), 5, ONE_AT_A_TIME, **small) < seconds_of(SplitFedV2(), 5, ONE_AT_A_TIME, **small)


def answering(**answers):
    """SplitFedV2 but for some answers, as a user's own protocol may give them."""
    kind = type("Mine", (SplitFedV2,), answers)
    scenario = toy(SplitFedV2(), training__batch_size=2)
    object.__setattr__(scenario, "protocol", kind())
    return scenario


def test_portions_that_stay_at_home_are_not_sent():
    """As the shared portion above, without loading and reporting."""
    time = timed(answering(client_sync="personal"), TWO, MACHINES, round=ROUND)
    first = 5.5 + 1  # its smashed data come at 5.5, the second client's at 5.25
    other = max(first + 1 + 7.25 + 2.75, 0) + 0.5
    again = max(other, first + 5.5 + 5.5) + 1
    assert finishes(time) == close([again + 5.5, other + 3.75])
    assert time.round_s() == close(max(finishes(time)))


def test_a_portion_that_stands_still_for_a_round_serves_whoever_comes():
    scenario, v1 = answering(server_step="round"), toy(SplitFedV1(), training__batch_size=2)
    assert timed(scenario, TWO, MACHINES).clients == timed(v1, TWO, MACHINES).clients


def test_a_portion_that_steps_once_a_step_index_lets_nobody_ahead():
    """The second client's next batch is there at 29 but is served only after the first's first, at 32."""
    time = timed(answering(server_step="step"), TWO, MACHINES)
    assert finishes(time) == close([DOWN[0] + 24 + UP[0], 32 + 0.5 + 3.75 + UP[1]])


def test_common_gradients_come_when_the_last_batch_of_a_step_is_in():
    time = timed(answering(server_step="mean_gradients"), TWO, MACHINES)
    second = max(32 + 5.5 + 5.5, 32 + 7.25 + 2.75) + 1
    assert finishes(time) == close([second + 5.5 + UP[0], second + 3.75 + UP[1]])


def test_a_server_that_learns_first_holds_everybody_up():
    """All of the first step is there at 31; its 4 samples take 2 s, three times over: two epochs and the gradients."""
    time = timed(answering(server_step="server_first", server_epochs=2), TWO, MACHINES)
    first = DOWN[0] + 5.5 + 3 * 2
    second = max(first + 11, first + 10) + 3 * 1.5
    assert finishes(time) == close([second + 5.5 + UP[0], second + 3.75 + UP[1]])


@pytest.mark.parametrize("handover", ["central", "peer_to_peer"])
def test_a_hand_over_after_every_batch_is_a_longer_chain(handover):
    scenario = answering(client_sync="handover", handover=handover)
    time = timed(scenario, TWO, MACHINES, round=ROUND)  # the first, the second, and once more around the ring
    if handover == "central":
        first = (DOWN[0] + 12 + UP[0]) + (DOWN[1] + 13.5 + UP[1]) + (DOWN[0] + 12 + UP[0])
        last = first + DOWN[1] + 7 + UP[1]
    else:
        there, back = 0.75 + 100 / 8, 0.75 + 100 / 4
        first = (12 + there) + (13.5 + back) + (12 + there)
        last = first + 7 + back
    assert finishes(time) == close([first, last])
    for client in time.clients:
        assert client.down_s + client.compute_s + client.wait_s + client.up_s == close(client.finish_s)
    sent = predicted_bytes(scenario, bare_plan(scenario, TWO), SPLIT)
    assert sent[Channel.HANDOVER].messages == 4 * (2 if handover == "central" else 1)


@pytest.mark.parametrize(
    "answers",
    [{"client_sync": "handover", "server": "replicas"}, {"synchrony": "buffered"}, {"server_step": "whenever"}],
    ids=named,
)
def test_an_unknown_protocol_is_refused_and_not_taken_for_another(answers):
    scenario = answering(**answers)
    name, value = next(iter(answers.items()))
    with pytest.raises(ScenarioError, match=f"Mine has {name}='{value}'.*, for which virtual time cannot be given"):
        timed(scenario, [3], [SLOW_DOWN])
    with pytest.raises(ScenarioError, match="bytes from sizes alone cannot be given"):
        predicted_bytes(scenario, bare_plan(scenario, [3]), SPLIT)


@QUICK
@given(
    protocol=st.sampled_from([SplitFedV1(), SplitFedV2(), SplitFedV2("client_major")]),
    cohort=cohorts,
    server=profiles,
    costs=split_costs,
    at_once=st.one_of(st.none(), st.integers(1, 3)),
)
def test_no_splitfed_client_reports_after_the_end_of_split_learnings_chain(protocol, cohort, server, costs, at_once):
    """Whoever waits, waits for somebody who gets on; so all together need no longer than one after another."""
    samples, machines = [n for n, _ in cohort], [m for _, m in cohort]
    devices = Devices(server=server, fed_server=server, replicas_at_once=at_once)
    chain = timed(of(SplitLearning()), samples, machines, costs, devices).round_s()
    assert timed(of(protocol), samples, machines, costs, devices).last_report_s <= chain * (1 + 1e-12)


def test_a_round_without_clients_takes_no_time():
    assert timed(of(SplitFedV1()), [], []).round_s() == 0


def test_server_profile_bounds_a_transfer_too():
    thin = Devices(server=replace(SERVER, down=2.0, latency=1.0), fed_server=SERVER)
    time = timed(of(SplitFedV1(), None), [2], [SLOW_DOWN], devices=thin)
    assert time.clients[0].up_s == close((1.5 + 24 / 2) + (0.5 + 100 / 8))
    assert np.isfinite(time.round_s())
