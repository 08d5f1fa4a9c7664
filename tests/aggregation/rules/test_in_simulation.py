"""Rules that remember, ask for a reference or see the model, in whole runs on the local engine."""

import math

import numpy as np
import pytest
import torch

from raysplit.aggregation.rule import Aggregate, AggregationRule
from raysplit.aggregation.rules.centred_clipping import CentredClipping
from raysplit.aggregation.rules.composed import Composed
from raysplit.aggregation.rules.crfl import CRFL
from raysplit.aggregation.rules.flame import FLAME
from raysplit.aggregation.rules.fltrust import FLTrust
from raysplit.aggregation.rules.fools_gold import FoolsGold
from raysplit.aggregation.rules.nearest_neighbour_mixing import NearestNeighbourMixing
from raysplit.aggregation.update_attack import Poison, UpdateAttack, updates_threat
from raysplit.attacks.scheduled import Scheduled
from raysplit.attacks.updates.model_replacement import ModelReplacement
from raysplit.attacks.updates.optimal_lie import OptimalLittleIsEnough
from raysplit.attacks.updates.sign_flip import SignFlip
from raysplit.errors import ScenarioError
from raysplit.memory.memory import by_client
from raysplit.parts.part import part
from raysplit.population.selection.cohort import Cohort, draw
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.scenario.layout import Layout
from raysplit.storage.checkpoints import read_checkpoint, write_checkpoint
from raysplit.training.optimizers import Adam
from tests.toys import ToyCnn, play, toy

STATEFUL = [
    FoolsGold(),
    CentredClipping(bound=0.002, start="previous"),
    Composed((NearestNeighbourMixing(),), FoolsGold()),
    CRFL(bound=30.0, rule=CentredClipping(bound=0.002, start="previous")),
]


def scenario(protocol, rounds=4, **changes):
    changes = {"cohort": Cohort(size=5, malicious=0.4, of="cohort")} | changes
    return toy(protocol, clients=9, training__rounds=rounds, **changes)


@part
class Seen(AggregationRule):
    """A mean that writes down what it was told, for the tests below."""

    roots: tuple[int, ...] = ()

    def aggregate(self, updates, weights, context):
        LOG.append((updates.clone(), context))
        return Aggregate(weights @ updates, {}, None, {"rounds": torch.tensor([float(context.round)])})


LOG = []


@pytest.mark.parametrize("rule", STATEFUL, ids=repr)
@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV2()], ids=lambda p: type(p).__name__)
def test_a_resumed_run_has_the_same_bits(tmp_path, rule, protocol):
    whole = scenario(protocol, defense=rule, attack=Scheduled(SignFlip(), start_round=2, on=1, off=1))
    straight = play(whole)
    assert straight.state.memory.get("fed/rule/updates", {}) and not straight.diverged
    first = play(whole.replace(**{"training.rounds": 2}))
    path = write_checkpoint(tmp_path, first.state, first.layout, whole.hash)
    read = read_checkpoint(path, Layout(whole), whole.hash)
    assert read.memory.get("fed/rule/updates", {}).keys() == first.state.memory.get("fed/rule/updates", {}).keys()
    assert all(
        torch.equal(read.memory.get("fed/rule/updates", {})[name], tensor)
        for name, tensor in first.state.memory.get("fed/rule/updates", {}).items()
    )
    resumed = play(whole, start=read)
    assert resumed.digest == straight.digest
    assert all(
        torch.equal(resumed.state.memory.get("fed/rule/updates", {})[name], tensor)
        for name, tensor in straight.state.memory.get("fed/rule/updates", {}).items()
    )
    forgotten = play(whole, start=read.remember({"fed/rule/updates": {}}))
    assert forgotten.digest != straight.digest  # the memory matters, so the equality above says something


def test_fools_gold_remembers_everybody_who_was_drawn():
    played = play(scenario(FedAvg(), rounds=5, defense=FoolsGold()))
    sampled = set(played.tables["clients"].column("client").to_pylist())
    assert (
        set(played.state.memory.get("fed/rule/updates", {})) == {str(client) for client in sampled} and len(sampled) > 5
    )


@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV1(), SplitFedV2()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_reference_is_what_the_root_client_alone_makes_of_the_portion(protocol, batch_norm):
    LOG.clear()
    whole = scenario(protocol, 1, defense=Seen(roots=(7,)), model=ToyCnn("V2", batch_norm=batch_norm))
    # A seed with which client 7 alone is drawn, so that its row is what it makes of the portion alone.
    seed = next(s for s in range(500) if draw(Cohort(1), s, 1, np.arange(9)).clients.tolist() == [7])
    play(whole.replace(cohort=Cohort(1), seed=seed))
    [(updates, context)] = LOG
    assert context.clients.tolist() == [7] and updates.shape == (1, len(context.reference))
    assert torch.equal(updates[0], context.reference) and context.reference.any()
    layout = Layout(whole.replace(seed=seed))
    assert torch.equal(context.portion, layout.initial().client[: layout.client.parameters])


@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV1(), SplitFedV2()], ids=lambda p: type(p).__name__)
def test_root_clients_leave_the_cohort_and_every_kept_state_alone(protocol):
    """The same run with and without them, where optimisers are kept and BatchNorm counts."""
    server = "fresh" if isinstance(protocol, SplitFedV1) else "persistent"
    kept = {"training__optimizer": Adam(), "training__client_state": "per_client"}
    if not isinstance(protocol, FedAvg):
        kept["training__server_state"] = server
    whole = scenario(protocol, 3, defense=Seen(), model=ToyCnn("V2", batch_norm=True), **kept)
    alone, beside = play(whole), play(whole.replace(defense=Seen(roots=(7, 2))))
    assert (
        beside.digest == alone.digest
        and by_client(beside.state.memory, "optimizer").keys() == by_client(alone.state.memory, "optimizer").keys()
    )
    for with_roots, other in (
        (beside.state.memory.get("server/optimizer", {}), alone.state.memory.get("server/optimizer", {})),
        *zip(
            by_client(beside.state.memory, "optimizer").values(),
            by_client(alone.state.memory, "optimizer").values(),
            strict=True,
        ),
    ):
        assert with_roots.keys() == other.keys() and all(
            tensor.equal(other[name]) for name, tensor in with_roots.items()
        )


def test_several_root_clients_count_by_their_samples_and_are_in_no_table():
    LOG.clear()
    whole = scenario(FedAvg(), 1, defense=Seen(roots=(7, 2)), cohort=Cohort(9))
    played = play(whole)
    [(updates, context)] = LOG
    sizes = whole.population.open().train_sizes(np.array([7, 2]))
    expected = (sizes[0] * updates[7] + sizes[1] * updates[2]) / sizes.sum()
    torch.testing.assert_close(context.reference, expected, rtol=1e-4, atol=1e-6)
    without = play(whole.replace(defense=Seen()))
    assert played.digest == without.digest and LOG[1][1].reference is None
    for table in ("clients", "channels"):
        dull = [name for name in played.tables[table].column_names if not name.endswith("_s")]
        assert played.tables[table].select(dull).equals(without.tables[table].select(dull))


def test_the_memory_comes_back_in_the_next_round_and_the_mean_has_none():
    LOG.clear()
    played = play(scenario(FedAvg(), 3, defense=Seen()))
    assert [context.memory.get("rounds", torch.zeros(1)).item() for _, context in LOG] == [0, 1, 2]
    assert played.state.memory.get("fed/rule/updates", {})["rounds"].item() == 3
    assert play(scenario(FedAvg(), 2)).state.memory.get("fed/rule/updates", {}) == {}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    "rule",
    [
        FLTrust((0, 8)),
        FoolsGold(),
        FLAME(angles="models"),
        CRFL(bound=3.0, noise=0.001),
        CRFL(3.0, FLTrust((8,)), noise=0.001),
    ],
    ids=repr,
)
def test_a_run_under_model_replacement_ends_better_than_the_mean(rule, seed):
    attack = ModelReplacement(SignFlip(scale=5000.0), start_round=2)
    whole = scenario(SplitFedV2(), 3, attack=attack, seed=seed, cohort=Cohort(9, 0.34, "cohort"))
    corrected, plain = play(whole.replace(defense=rule)), play(whole)
    bias = [run.tables["aggregation"].to_pylist()[1]["bias"] for run in (corrected, plain)]
    assert not corrected.diverged and math.isfinite(bias[0]) and bias[0] < bias[1]


def test_a_schedule_decides_the_rounds_and_the_tables_name_the_attack():
    whole = scenario(FedAvg(), 5, attack=Scheduled(SignFlip(), start_round=2, on=1, off=2))
    played = play(whole)
    assert [(row["round"], row["attack"]) for row in played.tables["attacks"].to_pylist()] == [
        (2, "SignFlip"),
        (5, "SignFlip"),
    ]
    assert played.tables["rounds"].column("attacked").to_pylist() == [False, True, False, False, True]
    with pytest.raises(ScenarioError, match="Scheduled starts in round 9"):
        whole.replace(attack=Scheduled(SignFlip(), start_round=9))


@pytest.mark.parametrize("knowledge", ["full", "partial"])
def test_an_adversary_rehearses_rules_with_memory_and_reference(knowledge):
    for rule in (FLTrust((8,)), FoolsGold(), CRFL(bound=50.0), FLAME(angles="models")):
        attack = OptimalLittleIsEnough(knowledge=knowledge, evaluations=5)
        played = play(scenario(FedAvg(), 2, defense=rule, attack=attack, cohort=Cohort(9, 0.34, "cohort")))
        assert len(played.tables["attacks"]) == 2 and not played.diverged


def test_what_an_adversary_is_told():
    @part
    class Spy(UpdateAttack):
        knowledge: str = "full"
        start_round: int = 1

        @property
        def threat_model(self):
            return updates_threat(self.knowledge)

        def poison(self, view):
            VIEWS.append(view)
            return Poison(view.own)

    for knowledge in ("full", "partial"):
        VIEWS, rule = [], FoolsGold()
        played = play(scenario(FedAvg(), 2, defense=rule, attack=Spy(knowledge)))
        rows = played.tables["clients"].to_pylist()
        for view in VIEWS:
            malicious_of_round = [row["client"] for row in rows if row["round"] == view.round and row["malicious"]]
            others = [row["client"] for row in rows if row["round"] == view.round and not row["malicious"]]
            assert view.context.clients.tolist() == malicious_of_round + (others if knowledge == "full" else [])
            assert bool(view.context.memory) == (knowledge == "full" and view.round == 2)
            assert view.context.reference is None and view.context.portion is not None


def test_a_root_client_that_the_population_lacks():
    with pytest.raises(
        ScenarioError, match="FLTrust names the root client 9, but the population 'toys' has only 9 clients"
    ):
        play(scenario(FedAvg(), defense=FLTrust((9,))))
