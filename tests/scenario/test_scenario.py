import dataclasses
import json

import pytest

from raysplit import Observe, PerExampleClipping, TopK
from raysplit.aggregation.rules.median import Median
from raysplit.aggregation.rules.trimmed_mean import TrimmedMean
from raysplit.attacks.updates.lie import LittleIsEnough
from raysplit.channels.channel import Channel
from raysplit.errors import PopulationError, ScenarioError
from raysplit.models.femnist_cnn import leaf_cnn
from raysplit.population.selection.cohort import Cohort
from raysplit.protocols.centralized import Centralized
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.split_learning import SplitLearning
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.scenario.grid import grid
from raysplit.scenario.scenario import Evaluation
from raysplit.training.optimizers import Adam, Sgd
from tests.toys import ToyClients, play, toy

BASE = toy(SplitFedV2())


def test_the_hash_names_what_is_computed_and_not_what_it_is_called():
    assert BASE.hash == toy(SplitFedV2()).hash == BASE.replace(name="other").hash
    changes = [
        {"seed": 1},
        {"groups": 3},
        {"training.lr": 0.1},
        {"training.optimizer": Adam()},
        {"protocol": SplitFedV1()},
        {"protocol.order": "client_major"},
        {"model.cut": "V1"},
        {"population.clients": 7},
        {"evaluation.every": 2},
        {"defense": Median()},
    ]
    hashes = [BASE.hash, *(BASE.replace(**change).hash for change in changes)]
    assert len(set(hashes)) == len(hashes)
    assert all(len(h) == 10 and int(h, 16) >= 0 for h in hashes)


def test_whole_numbers_stand_for_numbers():
    assert toy(SplitFedV2(), training__lr=1).hash == toy(SplitFedV2(), training__lr=1.0).hash


def test_the_canonical_form_is_json_with_every_field_and_its_type():
    form = json.loads(json.dumps(BASE.to_json(), allow_nan=False))
    assert form["type"] == "Scenario" and form["format"] == 1
    assert form["training"]["optimizer"] == {
        "type": "Sgd",
        "momentum": 0.9,
        "weight_decay": 0.001,
        "nesterov": False,
    }
    later = {"observe": Observe((1,)), "privacy": PerExampleClipping(1.0, 1.0, expected_batch=4)}
    later["message_defenses"] = (TopK(share=0.5),)
    assert {field.name for field in dataclasses.fields(BASE)} - later.keys() == form.keys() - {"type", "format"}
    for name, value in later.items():
        assert name in toy(SplitFedV2(), **{name: value}).to_json(), "added later: left out while it has its default"


def test_a_part_from_outside_carries_a_digest_of_its_source():
    form = BASE.to_json()
    assert len(form["population"]["source_sha256"]) == 64 and len(form["model"]["source_sha256"]) == 64
    assert "source_sha256" not in form["training"]


def test_a_replaced_field_is_checked_again_and_the_original_stays():
    changed = BASE.replace(**{"training.lr": 0.5, "cohort": Cohort(3)})
    assert (changed.training.lr, changed.cohort.size, BASE.training.lr) == (0.5, 3, 0.05)
    with pytest.raises(ScenarioError, match=r"Training\.lr must be a number"):
        BASE.replace(**{"training.lr": "fast"})
    with pytest.raises(ScenarioError, match=r"Training\.rounds must be at least 1"):
        BASE.replace(**{"training.rounds": 0})


@pytest.mark.parametrize(
    "path,words",
    [
        ("training.lrr", "Training has no 'lrr'; did you mean 'lr'"),
        ("trainig.lr", "Scenario has no 'trainig'; did you mean 'training'"),
        ("training.lr.x", "0.05 has no parts"),
    ],
)
def test_a_field_that_does_not_exist_is_answered_with_the_nearest(path, words):
    with pytest.raises(ScenarioError, match=words) as caught:
        BASE.replace(**{path: 1})
    assert "\n" not in str(caught.value)


def test_a_grid_is_every_combination_named_after_its_choices():
    scenarios = grid(BASE, training__lr=[0.1, 0.01], defense={"plain": BASE.defense, "robust": Median()}, seed=[1, 2])
    assert len(scenarios) == 8 == len({s.hash for s in scenarios})
    assert scenarios[0].name == "toy-lr0.1-plain-seed1" and scenarios[-1].name == "toy-lr0.01-robust-seed2"
    assert {(s.training.lr, type(s.defense).__name__, s.seed) for s in scenarios} == {
        (lr, rule, seed) for lr in (0.1, 0.01) for rule in ("Mean", "Median") for seed in (1, 2)
    }
    assert [s.name for s in grid(BASE, attack=[None])] == ["toy-no_attack"]


def test_a_grid_whose_names_would_collide_or_are_missing_is_refused():
    with pytest.raises(ScenarioError, match="name the values with a mapping"):
        grid(BASE, training__optimizer=[Sgd(), Sgd(momentum=0.5)])
    with pytest.raises(ScenarioError, match="grid axis 'seed' has no values"):
        grid(BASE, seed=[])


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"name": "a/b"}, "Scenario.name names the run's folder"),
        ({"name": ""}, "Scenario.name names the run's folder"),
        ({"groups": 0}, "Scenario.groups must be at least 1"),
        ({"checkpoint_every": 0}, "Scenario.checkpoint_every must be at least 1"),
        (
            {"evaluation": Evaluation(clients=None), "protocol": "fedavg"},
            "Scenario.protocol must be a TrainingProtocol",
        ),
        ({"protocol": FedAvg, "seed": 1}, "Scenario.protocol must be a TrainingProtocol"),
        (
            {"defense": TrimmedMean(f=3)},
            "TrimmedMean needs at least 7 updates against 3 malicious clients, but a cohort of 6 brings only 6",
        ),
        ({"protocol": SplitLearning(), "defense": Median()}, "SplitLearning has no updates channel"),
        ({"protocol": Centralized(), "defense": Median()}, "Centralized has no updates channel"),
        ({"attack": LittleIsEnough(z=1.0)}, "needs malicious clients, but Cohort.malicious is 0"),
        (
            {"cohort": Cohort(6, 0.2), "attack": LittleIsEnough(z=1.0, start_round=9)},
            "starts in round 9, but training ends after round 2",
        ),
        (
            {"protocol": SplitLearning(), "cohort": Cohort(6, 0.2), "attack": LittleIsEnough(z=1.0)},
            "names the channel 'updates', which SplitLearning does not have; its channels are smashed, cut_gradients, "
            "handover",
        ),
    ],
)
def test_a_scenario_that_cannot_be_run_as_meant_is_refused_in_one_sentence(changes, words):
    with pytest.raises(ScenarioError, match=words) as caught:
        dataclasses.replace(BASE, **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "protocol,channels",
    [
        (Centralized(), []),
        (FedAvg(), ["weights", "updates"]),
        (SplitLearning(), ["smashed", "cut_gradients", "handover"]),
        (SplitFedV1(), ["weights", "smashed", "cut_gradients", "updates", "server_updates"]),
        (SplitFedV2(), ["weights", "smashed", "cut_gradients", "updates"]),
        (
            SplitFedV2(u_shaped=True),
            ["weights", "smashed", "features", "feature_gradients", "cut_gradients", "updates"],
        ),
    ],
    ids=repr,
)
def test_a_protocols_channels_are_those_that_carry_something(protocol, channels):
    assert [channel.value for channel in protocol.channels] == channels
    played = play(toy(protocol, "V1", "fc1"))
    assert sorted(played.bytes_on()) == sorted(channels)
    assert all(isinstance(channel, Channel) for channel in protocol.channels)


def test_groups_grow_with_the_cohort_and_never_outnumber_it():
    assert [toy(FedAvg(), clients=n).group_count for n in (1, 6, 8, 100, 320)] == [1, 6, 8, 8, 20]
    assert toy(FedAvg(), clients=4, groups=9).group_count == 4


@pytest.mark.parametrize(
    "changes,error,words",
    [
        ({"cohort": Cohort(9)}, ScenarioError, "Cohort.size is 9, but the population 'toys' has only 6 clients"),
        (
            {"model": leaf_cnn()},
            PopulationError,
            r"LeafCnn takes samples of shape \(1, 28, 28\), but population 'toys' has \(1, 8, 8\)",
        ),
        (
            {"population": ToyClients(6, classes=9)},
            PopulationError,
            "ToyCnn tells 5 classes apart, but population 'toys' has 9",
        ),
        (
            {"population": ToyClients(6, smallest=0)},
            PopulationError,
            "client 0 of population 'toys' has no training samples",
        ),
    ],
)
def test_data_that_do_not_fit_the_scenario_are_refused_before_training(changes, error, words):
    with pytest.raises(error, match=words) as caught:
        play(dataclasses.replace(BASE, **changes))
    assert "\n" not in str(caught.value)


def test_a_diverged_run_is_recorded_as_diverged_and_stops():
    played = play(toy(SplitFedV2(), training__lr=1e30, training__rounds=5))
    assert played.diverged
    assert played.tables["rounds"].column("diverged").to_pylist()[-1] is True
    assert len(played.tables["rounds"]) < 5
