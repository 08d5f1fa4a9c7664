"""Whole toy runs with cohorts that vary: who drops out leaves no trace, rounds are passed over, and a resumed run is
the same."""

import numpy as np
import pytest

from raysplit.aggregation.rules.krum import Krum
from raysplit.aggregation.rules.median import Median
from raysplit.aggregation.rules.trimmed_mean import TrimmedMean
from raysplit.attacks.updates.sign_flip import SignFlip
from raysplit.errors import ScenarioError
from raysplit.memory.memory import by_client
from raysplit.parts.part import part
from raysplit.population.selection.availability import DayNight
from raysplit.population.selection.cohort import Cohort, ParticipationSampler
from raysplit.population.selection.draws import FixedRing, Poisson, RoundRobin, Weighted
from raysplit.population.selection.dropouts import Dropouts
from raysplit.protocols.centralized import Centralized
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.storage.checkpoints import read_checkpoint
from raysplit.storage.schemas import SCHEMAS, deterministic_columns
from raysplit.training.optimizers import Adam
from raysplit.training.settings import FedOpt
from tests.toys import play, toy

PROTOCOLS = [FedAvg(), SplitFedV1(), SplitFedV2(), SplitFedV2("client_major"), SplitLearning()]
COHORTS = [
    Cohort(3, draw=Weighted()),
    Cohort(3, draw=FixedRing()),
    Cohort(4, draw=RoundRobin()),
    Cohort(2, draw=Poisson()),
    Cohort(3, available=DayNight(4, 0.4)),
    Cohort(4, dropouts=Dropouts(0.4)),
    Cohort(3, draw=Poisson(0.5), available=DayNight(3, 0.7), dropouts=Dropouts(0.3), at_least=2),
]


@part
class Those:
    """Always the same clients."""

    clients: tuple[int, ...]

    def draw(self, size, seed, round, crowd):
        return np.array(self.clients, dtype=np.int64)


def sampler(scenario):
    every = ParticipationSampler(scenario.cohort, scenario.seed, scenario.population.open())
    return [every.of(round) for round in range(1, scenario.training.rounds + 1)]


def rows(played, table, round):
    return [row for row in played.tables[table].to_pylist() if row["round"] == round]


@pytest.mark.parametrize("cohort", COHORTS, ids=str)
@pytest.mark.parametrize("protocol", PROTOCOLS, ids=str)
def test_the_tables_say_who_took_part(protocol, cohort):
    scenario = toy(protocol, cohort=cohort, training__rounds=5)
    played = play(scenario)
    for round, participation in enumerate(sampler(scenario), 1):
        (row,) = rows(played, "rounds", round)
        reporting, dropped = participation.reporting.clients.tolist(), participation.dropped.clients.tolist()
        assert (row["clients"], row["dropped"]) == (len(reporting), len(dropped))
        clients = rows(played, "clients", round)
        assert [r["client"] for r in clients if not r["dropped"]] == reporting
        assert [r["client"] for r in clients if r["dropped"]] == dropped
        assert all(r["steps"] > 0 and r["train_loss"] is not None for r in clients if not r["dropped"])
        assert all(r["steps"] == 0 and r["train_loss"] is None and r["samples"] > 0 for r in clients if r["dropped"])
        assert row["samples"] == sum(r["samples"] for r in clients if not r["dropped"])
        assert (row["train_loss"] is None) == (not reporting)
        assert bool(rows(played, "channels", round)) == bool(reporting)
        assert len(rows(played, "evaluations", round)) == 1
    assert not played.diverged


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=str)
def test_a_round_that_is_passed_over_changes_nothing(protocol):
    cohort = Cohort(2, available=DayNight(2, 0.5, spread=0))  # there in rounds 1, 3, 5, away in 2, 4
    changes = {"client_state": "per_client"} if protocol.client_sync == "averaging" else {}
    scenario = toy(protocol, cohort=cohort, **{f"training__{name}": value for name, value in changes.items()})
    one = play(scenario.replace(**{"training.rounds": 1}))
    two = play(scenario.replace(**{"training.rounds": 2}))
    assert rows(two, "rounds", 2)[0]["clients"] == 0 and rows(two, "rounds", 2)[0]["update_norm"] == 0
    assert one.state.client.equal(two.state.client) and one.state.server.equal(two.state.server)
    assert by_client(one.state.memory, "optimizer").keys() == by_client(two.state.memory, "optimizer").keys()
    assert one.state.memory.get("server/optimizer", {}).keys() == two.state.memory.get("server/optimizer", {}).keys()
    assert rows(two, "evaluations", 1)[0]["loss"] == rows(two, "evaluations", 2)[0]["loss"]
    assert rows(play(scenario.replace(**{"training.rounds": 3})), "rounds", 3)[0]["clients"] == 2


def test_centralised_training_is_passed_over_like_the_others():
    played = play(toy(Centralized(), cohort=Cohort(2, available=DayNight(2, 0.5, spread=0)), training__rounds=3))
    assert played.tables["rounds"].column("clients").to_pylist() == [2, 0, 2]
    assert played.tables["clients"].column("round").to_pylist() == [1, 3], "one party"


def test_a_step_on_the_aggregate_is_not_taken_without_one():
    cohort = Cohort(2, available=DayNight(2, 0.5, spread=0))
    scenario = toy(FedAvg(), cohort=cohort, training__aggregate=FedOpt(Adam(), lr=0.01))
    one, two = (play(scenario.replace(**{"training.rounds": rounds})) for rounds in (1, 2))
    assert one.state.client.equal(two.state.client)


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=str)
def test_who_fails_before_training_leaves_no_trace(protocol):
    """The run with dropouts is, to the bit, the run whose cohorts never held those clients."""
    scenario = toy(protocol, cohort=Cohort(6, dropouts=Dropouts(0.4)), training__rounds=1)
    (participation,) = sampler(scenario)
    assert 0 < len(participation.absent.clients) < 6
    present = tuple(participation.reporting.clients.tolist())
    rest = toy(protocol, cohort=Cohort(len(present), draw=Those(present)), training__rounds=1)
    assert play(scenario).digest == play(rest).digest


@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV1(), SplitFedV1(u_shaped=True)], ids=str)
@pytest.mark.parametrize("defense", [None, Median()], ids=str)
def test_where_clients_do_not_touch_each_other_lost_and_absent_are_one_model(protocol, defense):
    tail = "fc1" if protocol.u_shaped else None
    changes = {"defense": defense} if defense is not None else {}
    before, after = (
        toy(protocol, tail=tail, cohort=Cohort(6, dropouts=Dropouts(0.4, when)), groups=1, **changes)
        for when in ("before", "after")
    )
    one, other = play(before), play(after)
    assert one.digest == other.digest
    assert one.tables["rounds"].column("train_loss") == other.tables["rounds"].column("train_loss")
    assert one.messages_on()["updates"] == other.messages_on()["updates"]
    assert one.messages_on()["weights"] < other.messages_on()["weights"], "they were sent the model and trained"
    if protocol.server == "replicas":
        assert one.messages_on()["server_updates"] == other.messages_on()["server_updates"]
    lost = [row for row in rows(other, "clients", 1) if row["dropped"]]
    assert lost and all(row["steps"] > 0 and row["train_loss"] is None for row in lost)


@pytest.mark.parametrize("order", ["interleaved", "client_major"])
def test_a_shared_server_portion_has_learned_from_a_lost_client(order):
    cohorts = [Cohort(6, dropouts=Dropouts(0.4, when)) for when in ("before", "after")]
    one, other = (play(toy(SplitFedV2(order), cohort=cohort, training__rounds=1)) for cohort in cohorts)
    assert not one.state.server.equal(other.state.server)
    assert one.messages_on()["updates"] == other.messages_on()["updates"]
    assert one.messages_on()["smashed"] < other.messages_on()["smashed"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("protocol", [SplitFedV1(), SplitFedV2()], ids=str)
def test_attack_and_defence_see_those_that_report(protocol, when):
    cohort = Cohort(8, 0.25, "cohort", draw=Poisson(), dropouts=Dropouts(0.3, when), at_least=3)
    scenario = toy(
        protocol, clients=12, cohort=cohort, attack=SignFlip(), defense=Median(), training__rounds=8, groups=2
    )
    played = play(scenario)
    for round, participation in enumerate(sampler(scenario), 1):
        malicious, n = int(participation.reporting.malicious.sum()), len(participation.reporting.clients)
        (row,) = rows(played, "rounds", round)
        assert (row["malicious"], row["attacked"]) == (malicious, malicious > 0)
        told = [(r["n"], r["actual"], r["assumed"]) for r in rows(played, "aggregation", round)]
        portions = 1 + (protocol.server == "replicas")
        assert told == ([(n, malicious, round_half_even(0.25 * n))] * portions if n else [])
        assert [r["m"] for r in rows(played, "attacks", round)] == ([malicious] if malicious else [])


def round_half_even(value):
    return int(np.rint(value))


def test_a_cohort_that_shrinks_below_what_a_rule_bears_is_said_or_passed_over():
    cohort = Cohort(6, 0.34, "cohort", dropouts=Dropouts(0.5))
    scenario = toy(FedAvg(), cohort=cohort, attack=SignFlip(), defense=Krum(f=1), training__rounds=6)
    assert min(len(participation.reporting.clients) for participation in sampler(scenario)) < 5
    said = (
        r"at least 5 updates against 1 malicious clients, but it has (\d); only \1 clients reported in round \d: "
        r"Cohort\.at_least=\d"
    )
    with pytest.raises(ScenarioError, match=said):
        play(scenario)
    played = play(scenario.replace(**{"cohort.at_least": 5}))
    sizes = set(played.tables["rounds"].column("clients").to_pylist())
    assert min(sizes) == 0 and min(sizes - {0}) >= 5


def test_more_liars_than_declared_are_recorded_as_broken():
    cohort = Cohort(8, 0.25, draw=Poisson(), at_least=3)
    scenario = toy(
        FedAvg(), clients=12, cohort=cohort, attack=SignFlip(), defense=TrimmedMean("assumed"), training__rounds=12
    )
    played = play(scenario).tables["aggregation"].to_pylist()
    assert all(row["broken"] == (row["actual"] > row["trim"]) for row in played)
    assert any(row["broken"] for row in played)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV1(), SplitFedV2()], ids=str)
def test_a_resumed_run_is_the_run_without_the_break(tmp_path, protocol, when):
    cohort = Cohort(3, draw=Poisson(), available=DayNight(3, 0.8), dropouts=Dropouts(0.3, when))
    scenario = toy(protocol, cohort=cohort, training__rounds=6, training__optimizer=Adam(), checkpoint_every=3)
    straight = play(scenario, folder=tmp_path)
    start = read_checkpoint(tmp_path / "checkpoints" / "round-000003", straight.layout, scenario.hash)
    resumed = play(scenario, start=start)
    assert resumed.digest == straight.digest
    for name, schema in SCHEMAS.items():
        columns = deterministic_columns(schema)
        late = [row for row in straight.tables[name].select(columns).to_pylist() if row["round"] > 3]
        assert late == resumed.tables[name].select(columns).to_pylist(), name


@pytest.mark.parametrize(
    "protocol,dropouts,words",
    [
        (Centralized(), Dropouts(0.1), "Centralized is one party that cannot drop out"),
        (SplitLearning(), Dropouts(0.1, "after"), "SplitLearning hands portions over; use when='before'"),
    ],
)
def test_dropouts_that_have_no_meaning_are_refused(protocol, dropouts, words):
    with pytest.raises(ScenarioError, match=words):
        toy(protocol, cohort=Cohort(3, dropouts=dropouts))


def test_every_field_of_a_cohort_is_in_the_hash():
    hashes = {toy(FedAvg(), cohort=cohort).hash for cohort in [Cohort(3), *COHORTS]}
    assert len(hashes) == len(COHORTS) + 1
