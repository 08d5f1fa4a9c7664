"""Rules and attacks on server replicas. The oracle: on both halves of a cut model they are FedAvg with that rule on the
whole."""

import dataclasses

import pytest
import torch

from raysplit import rng
from raysplit.aggregation.fed_server import sum_groups
from raysplit.aggregation.rule import rule_stream
from raysplit.aggregation.rules.centred_clipping import CentredClipping
from raysplit.aggregation.rules.crfl import CRFL
from raysplit.aggregation.rules.fltrust import FLTrust
from raysplit.aggregation.rules.krum import Krum
from raysplit.aggregation.rules.mean import Mean
from raysplit.aggregation.rules.mean_around_median import MeanAroundMedian
from raysplit.aggregation.rules.median import Median
from raysplit.aggregation.rules.trimmed_mean import TrimmedMean
from raysplit.attacks.attack import CompositeAttack
from raysplit.attacks.scheduled import Scheduled
from raysplit.attacks.updates.agr_tailored import AgrTailored
from raysplit.attacks.updates.lie import LittleIsEnough
from raysplit.attacks.updates.on_server_replicas import OnServerReplicas
from raysplit.attacks.updates.sign_flip import SignFlip
from raysplit.channels.channel import Channel
from raysplit.engine.local import LocalEngine
from raysplit.errors import ScenarioError
from raysplit.population.selection.cohort import Cohort, ParticipationSampler
from raysplit.population.selection.dropouts import Dropouts
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.protocols.splitfed_v3 import SplitFedV3
from raysplit.scenario.layout import Layout
from raysplit.simulation.planning import make_plan
from raysplit.storage.checkpoints import read_checkpoint
from raysplit.storage.updates import path_of, read_updates, recorded_rounds
from raysplit.training.optimizers import Adam
from raysplit.training.settings import FedOpt
from tests.toys import ToyCnn, distance, play, toy

LIARS = Cohort(9, malicious=0.25, of="cohort")
CUTS = ["V1", "V2", "V3"]
CLONES = AgrTailored(gamma=3.0)


def whole(rule, attack=None, **changes):
    return play(toy(FedAvg(), **{"clients": 9, "cohort": LIARS, **changes}, defense=rule, attack=attack))


def halves(rule, attack=None, cut="V2", **changes):
    both = attack and CompositeAttack((attack, OnServerReplicas(attack)))
    changes = {"clients": 9, "cohort": LIARS, **changes}
    return play(toy(SplitFedV1(), cut, **changes, defense=rule, server_defense=rule, attack=both))


@pytest.mark.parametrize("attack", [None, CLONES, LittleIsEnough(), SignFlip(3.0)], ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("rule", [TrimmedMean(), Median(), MeanAroundMedian(), Mean()], ids=lambda r: type(r).__name__)
@pytest.mark.parametrize("cut", CUTS)
def test_one_columnwise_rule_on_both_halves_is_that_rule_on_the_whole_model(cut, rule, attack):
    one, two = whole(rule, attack), halves(rule, attack, cut)
    assert distance(one.named, two.named) == 0
    assert one.digest == two.digest
    assert distance(one.named, two.layout.named(two.layout.initial())) > 1e-3, "it must have trained"


def test_the_oracle_tells_rules_and_attacks_on_the_servers_half_apart():
    """Each of these differs from the whole model's run on the server portion, so the invariant above can fail."""
    right = whole(TrimmedMean(), CLONES)
    both, client = CompositeAttack((CLONES, OnServerReplicas(CLONES))), CLONES
    for changes in (
        {"server_defense": Mean(), "attack": both},
        {"server_defense": Median(), "attack": both},
        {"server_defense": TrimmedMean(1), "attack": both},
        {"server_defense": TrimmedMean(), "attack": client},
    ):
        scenario = toy(SplitFedV1(), clients=9, cohort=LIARS, defense=TrimmedMean(), training__rounds=1, **changes)
        found = play(scenario)
        first = whole(TrimmedMean(), CLONES, training__rounds=1)
        client_half = found.layout.client.named_tensors(found.state.client)
        assert all(tensor.equal(first.named[name]) for name, tensor in client_half.items())
        assert distance(found.named, first.named) > 1e-6, changes
    assert right.digest == halves(TrimmedMean(), CLONES).digest


@pytest.mark.parametrize("aggregate", [FedOpt(Adam(), lr=0.01), None], ids=["adam", "none"])
def test_the_same_with_batch_norm_dropouts_an_optimiser_and_any_groups(aggregate):
    lossy = dataclasses.replace(LIARS, dropouts=Dropouts(0.3, when="after"))
    changes = {"cohort": lossy, "training__aggregate": aggregate, "training__rounds": 3}
    one = whole(TrimmedMean(), CLONES, **changes, model=ToyCnn("V1", batch_norm=True))
    for groups in (1, 4):
        two = halves(TrimmedMean(), CLONES, **changes, model=ToyCnn("V1", batch_norm=True), groups=groups)
        assert distance(one.named, two.named) == 0
    assert (
        0 < sum(one.tables["rounds"].column("dropped").to_pylist()) == sum(two.tables["rounds"]["dropped"].to_pylist())
    )
    rows = two.tables["aggregation"].to_pylist()
    assert [row["n"] for row in rows if row["portion"] == "server"] == two.tables["rounds"]["clients"].to_pylist()
    assert {message for message in (two.messages_on(r)["server_updates"] for r in (1, 2, 3))} <= set(range(1, 9))


def test_u_shaped_and_parallel_visits_change_nothing():
    cut = {"model": ToyCnn("V1", "fc1")}
    rule, attack = TrimmedMean(), CompositeAttack((CLONES, OnServerReplicas(CLONES)))
    shaped = toy(
        SplitFedV1(u_shaped=True), clients=9, cohort=LIARS, defense=rule, server_defense=rule, attack=attack, **cut
    )
    assert play(shaped).digest == whole(rule, CLONES).digest


def test_a_mean_of_recorded_rounds_is_fedavgs_too():
    one, two = whole(Mean(), record_updates_every=2), halves(Mean(), record_updates_every=2)
    assert one.digest == two.digest


# The tables, and who acts where


def test_tables_have_a_row_a_portion_and_the_attack_on_each():
    played = halves(TrimmedMean(), CLONES)
    rows = played.tables["aggregation"].to_pylist()
    assert [(row["round"], row["portion"], row["rule"], row["trim"]) for row in rows] == [
        (round, portion, "TrimmedMean", 2) for round in (1, 2) for portion in ("client", "server")
    ]
    assert [row["d"] for row in rows[:2]] == [len(played.state.client), len(played.state.server)]
    assert all(row["bias"] > 0 and not row["broken"] for row in rows)
    tampered = played.tables["attacks"].to_pylist()
    assert [(row["attack"], row["channel"], row["m"]) for row in tampered[:2]] == [
        ("AgrTailored", "updates", 2),
        ("AgrTailored", "server_updates", 2),
    ]
    broken = halves(TrimmedMean(1), CLONES).tables["aggregation"].to_pylist()
    assert all(row["broken"] for row in broken)


def test_norms_of_replicas_are_those_of_their_rows(tmp_path):
    scenario = toy(SplitFedV1(), clients=9, cohort=LIARS, server_defense=Median(), record_updates_every=1)
    rows = play(scenario, folder=tmp_path).tables["clients"].to_pylist()
    there = read_updates(path_of(tmp_path / "updates", 1, recorded_channel(tmp_path)))
    norms = there.updates.double().norm(dim=1).tolist()
    assert [row["server_update_norm"] for row in rows if row["round"] == 1] == pytest.approx(norms, rel=1e-6)
    plain = play(toy(SplitFedV1(), clients=9)).tables["clients"]
    assert plain["server_update_norm"].null_count == len(plain)


def recorded_channel(tmp_path):
    return read_updates(next((tmp_path / "updates" / "server").iterdir())).channel


@pytest.mark.parametrize("side", ["client", "server"])
def test_an_attack_on_one_half_leaves_the_other_to_itself(side):
    clean = play(toy(SplitFedV1(), clients=9, cohort=LIARS, training__rounds=1))
    lie = OnServerReplicas(SignFlip(5.0)) if side == "server" else SignFlip(5.0)
    lied = play(toy(SplitFedV1(), clients=9, cohort=LIARS, training__rounds=1, attack=lie))
    other = "server" if side == "client" else "client"
    assert getattr(lied.state, other).equal(getattr(clean.state, other))
    assert not getattr(lied.state, side).allclose(getattr(clean.state, side), atol=1e-3)
    [row] = lied.tables["attacks"].to_pylist()
    assert row["channel"] == ("updates" if side == "client" else "server_updates")
    assert lied.tables["rounds"]["attacked"].to_pylist() == [True]


def test_a_rule_on_replicas_stops_what_moves_their_mean():
    def gap(rule, attack):
        changes = {"clients": 9, "cohort": LIARS, "training__rounds": 1, "server_defense": rule}
        return play(toy(SplitFedV1(), **changes, attack=attack)).state.server

    lie = OnServerReplicas(SignFlip(50.0))
    honest = gap(Mean(), None)
    assert (gap(TrimmedMean(), lie) - honest).norm() < 0.1 * (gap(Mean(), lie) - honest).norm()


def test_each_half_has_its_own_start_and_schedule():
    attack = CompositeAttack(
        (SignFlip(start_round=3), Scheduled(OnServerReplicas(SignFlip()), start_round=2, on=1, off=1))
    )
    assert attack.start_round == 2
    played = play(toy(SplitFedV1(), clients=9, cohort=LIARS, training__rounds=4, attack=attack))
    found = [(row["round"], row["channel"]) for row in played.tables["attacks"].to_pylist()]
    assert found == [(2, "server_updates"), (3, "updates"), (4, "updates"), (4, "server_updates")]
    twice = Scheduled(CompositeAttack((SignFlip(), OnServerReplicas(SignFlip()))), start_round=2, on=1)
    rows = play(toy(SplitFedV1(), clients=9, cohort=LIARS, training__rounds=4, attack=twice)).tables["attacks"]
    assert rows["round"].to_pylist() == [2, 2]


def test_threat_models_add_up():
    model = CompositeAttack((SignFlip(), OnServerReplicas(AgrTailored()))).threat_model
    assert (
        sorted(channel.value for channel in model.changes)
        == ["server_updates", "updates"]
        == sorted(channel.value for channel in model.sees)
    )
    assert model.knowledge == "full"
    alone = OnServerReplicas(SignFlip()).threat_model
    assert [channel.value for channel in alone.changes] == ["server_updates"] and alone.knowledge == "partial"


# SplitFedV3: replicas meet, client portions do not


def test_v3s_first_round_at_the_server_is_v1s_under_a_rule_and_an_attack():
    changes = {"clients": 9, "cohort": LIARS, "server_defense": TrimmedMean(), "attack": OnServerReplicas(CLONES)}
    one = play(toy(SplitFedV1(), training__rounds=1, **changes))
    three = play(toy(SplitFedV3(), training__rounds=1, **changes))
    assert three.state.server.equal(one.state.server)
    [row] = three.tables["aggregation"].to_pylist()
    assert row["portion"] == "server" and row["trim"] == 2
    assert [row["channel"] for row in three.tables["attacks"].to_pylist()] == ["server_updates"]
    assert not three.state.server.equal(play(toy(SplitFedV3(), training__rounds=1, clients=9)).state.server)


def test_v3s_replica_of_a_lost_client_is_no_row():
    lossy = Cohort(9, dropouts=Dropouts(0.4, when="after"))
    played = play(toy(SplitFedV3(), clients=9, cohort=lossy, server_defense=Median(), training__rounds=3))
    reported = played.tables["rounds"]["clients"].to_pylist()
    assert min(reported) < 9
    assert played.tables["aggregation"]["n"].to_pylist() == reported
    assert [played.messages_on(round)["server_updates"] for round in (1, 2, 3)] == reported


@pytest.mark.parametrize("protocol", [SplitFedV1(), SplitFedV3()], ids=repr)
@pytest.mark.parametrize("rule", [Mean(), Median()], ids=lambda rule: type(rule).__name__)
def test_replicas_come_as_sums_or_rows_and_a_lost_clients_as_neither(protocol, rule):
    """Sums under the mean are those of the rows."""
    scenario = toy(protocol, clients=9, cohort=Cohort(9, dropouts=Dropouts(0.4, when="after")), server_defense=rule)
    population = scenario.population.open()
    participation = ParticipationSampler(scenario.cohort, scenario.seed, population).of(1)
    plan = make_plan(scenario, population, 1, participation)
    state = Layout(scenario).initial()
    with LocalEngine(scenario) as engine:
        outcome = engine.train(plan, state)
        rows = engine.train(dataclasses.replace(plan, server_rows=True), state)
    assert plan.lost > 0 and plan.server_rows == (rule == Median()) == bool(outcome.server_rows)
    assert sorted(rows.server_rows) == list(range(plan.reporting)) and not rows.server_sums
    if rule == Mean():
        assert sorted(outcome.server_sums) == sorted(
            {g for g, who in enumerate(plan.groups) if min(who) < plan.reporting}
        )
        by_hand = sum(float(plan.weights[p]) * row.double() for p, row in rows.server_rows.items())
        assert torch.allclose(sum_groups(outcome.server_sums).double(), by_hand, atol=1e-6)


# Memory, roots, checkpoints


def test_no_rule_shares_its_randomness_with_that_of_the_other_portion():
    sampled = [rule_stream(7, 3, channel).random() for channel in (Channel.UPDATES, Channel.SERVER_UPDATES)]
    assert sampled[0] != sampled[1] and sampled[0] == rng.stream(7, "defense", 3).random(), (
        "client runs keep their bits"
    )


def test_rules_with_memory_remember_each_portion_apart_and_are_resumed(tmp_path):
    scenario = toy(
        SplitFedV1(),
        clients=9,
        cohort=Cohort(5),
        defense=CentredClipping(0.1, start="previous"),
        server_defense=CentredClipping(0.1, start="previous"),
        training__rounds=4,
        checkpoint_every=2,
    )
    straight = play(scenario, folder=tmp_path / "straight")
    assert straight.state.memory.get("fed/rule/updates", {})["previous"].shape == straight.state.client.shape
    assert straight.state.memory.get("fed/rule/server_updates", {})["previous"].shape == straight.state.server.shape
    half = read_checkpoint(tmp_path / "straight" / "checkpoints" / "round-000002", straight.layout, scenario.hash)
    assert (
        half.memory.get("fed/rule/server_updates", {})
        and half.memory.get("fed/rule/server_updates", {}).keys() == half.memory.get("fed/rule/updates", {}).keys()
    )
    resumed = play(scenario, start=half)
    assert resumed.digest == straight.digest
    forgetful = play(scenario, start=half.remember({"fed/rule/server_updates": {}}))
    assert forgetful.state.server.ne(straight.state.server).any()


class Counting(LocalEngine):
    """Counts the rounds that it plays."""

    played = 0

    def train(self, plan, start):
        self.played += 1
        return super().train(plan, start)


def test_roots_train_once_for_both_halves_and_again_for_other_roots():
    both = toy(
        SplitFedV1(), clients=9, defense=FLTrust(roots=(1, 2)), server_defense=FLTrust(roots=(1, 2)), training__rounds=1
    )
    with Counting(both) as engine:
        played = play(both, engine)
    assert engine.played == 2
    apart = both.replace(server_defense=CRFL(1e9, FLTrust(roots=(3,)), noise=0.0))
    with Counting(apart) as engine:
        other = play(apart, engine)
    assert engine.played == 3
    assert other.state.client.equal(played.state.client) and not other.state.server.equal(played.state.server)


def test_the_reference_is_the_roots_server_update(tmp_path):
    """By hand: a run of the root clients alone, averaged, ends where the reference points to."""
    scenario = toy(
        SplitFedV1(), clients=9, server_defense=FLTrust(roots=(3,)), training__rounds=1, record_updates_every=1
    )
    played = play(scenario, folder=tmp_path)
    there = read_updates(path_of(tmp_path / "updates", 1, recorded_channel(tmp_path)))
    assert there.reference is not None
    row = there.clients.tolist().index(3)
    assert there.reference.equal(there.updates[row]), "client 3 is honest: its own replica's update"
    assert read_updates(path_of(tmp_path / "updates", 1)).reference is None
    again = FLTrust(roots=(3,)).aggregate(there.updates, there.weights, there.context())
    assert (there.portion + again.update).equal(played.state.server)


# Recording


@pytest.mark.parametrize("protocol", [SplitFedV1(), SplitFedV3()], ids=repr)
@pytest.mark.parametrize("rule", [TrimmedMean(), Krum(), CRFL(20.0)], ids=lambda rule: type(rule).__name__)
def test_recorded_replicas_make_the_runs_server_portion_again(tmp_path, protocol, rule):
    lie = OnServerReplicas(SignFlip())
    scenario = toy(
        protocol, clients=9, cohort=LIARS, server_defense=rule, attack=lie, record_updates_every=1, training__rounds=2
    )
    played = play(scenario, folder=tmp_path)
    channel, folder = recorded_channel(tmp_path), tmp_path / "updates"
    assert recorded_rounds(folder, channel) == [1, 2]
    assert recorded_rounds(folder) == ([1, 2] if isinstance(protocol, SplitFedV1) else [])
    there = read_updates(path_of(folder, 2, channel))
    assert there.attacked and there.honest.shape == (2, len(played.state.server)) and there.scenario == scenario.hash
    aggregate = rule.aggregate(there.updates, there.weights, there.context())
    assert (there.portion + aggregate.update).equal(played.state.server)


# What cannot be


@pytest.mark.parametrize(
    "protocol,changes,words",
    [
        (SplitFedV2(), {"server_defense": Median()}, "Median aggregates server replicas, but SplitFedV2 has no"),
        (FedAvg(), {"server_defense": Median()}, "but FedAvg has no server_updates channel; leave server_defense out"),
        (
            SplitFedV2(),
            {"attack": OnServerReplicas(SignFlip())},
            "OnServerReplicas's threat model names the channel 'server_updates', which SplitFedV2 does not have",
        ),
        (
            SplitFedV3(),
            {"attack": CompositeAttack((SignFlip(), OnServerReplicas(SignFlip())))},
            "'updates', which SplitFedV3 does not have",
        ),
        (SplitFedV1(as_published="thapa2022"), {"server_defense": Median()}, "averages replicas in mid-round"),
        (SplitFedV1(as_published="thapa2022"), {"attack": OnServerReplicas(SignFlip())}, "replicas in mid-round"),
        (SplitFedV1(), {"server_defense": TrimmedMean(5)}, "TrimmedMean needs at least 11 updates against 5 malicious"),
    ],
)
def test_what_has_no_replicas_to_act_on_is_refused(protocol, changes, words):
    with pytest.raises(ScenarioError, match=words):
        toy(protocol, clients=9, cohort=LIARS, **changes)


def test_by_portion_refuses_attacks_that_act_elsewhere():
    with pytest.raises(
        ScenarioError, match=r"OnServerReplicas\.attack must be an attack that changes updates and nothing else"
    ):
        OnServerReplicas(OnServerReplicas(SignFlip()))


def test_a_rule_judges_the_servers_parameters_and_leaves_its_statistics_to_the_mean():
    model, changes = ToyCnn("V1", batch_norm=True), {"clients": 9, "training__rounds": 1}
    mean = play(toy(SplitFedV1(), model=model, **changes))
    median = play(toy(SplitFedV1(), model=model, server_defense=Median(), **changes))
    parameters = mean.layout.server.parameters
    assert parameters < len(mean.state.server)
    assert torch.allclose(median.state.server[parameters:], mean.state.server[parameters:], atol=1e-6)
    assert not torch.allclose(median.state.server[:parameters], mean.state.server[:parameters], atol=1e-4)
