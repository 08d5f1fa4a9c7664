"""Label inference on runs: what is observed and told, what is scored, and beside what."""

from __future__ import annotations

import json

import pytest
from torch.nn import functional

import raysplit
from raysplit import (
    Adam,
    Adversary,
    ClusterLabels,
    Cohort,
    DirectionLabels,
    GradientMatchingLabels,
    ModelCompletion,
    Observe,
    QueryFree,
    SignLabels,
    SplitFedV2,
    SplitLearning,
    Training,
    subset,
    unsplit_mnist,
)
from raysplit.analysis.inference.files import record_of, write_inference
from raysplit.analysis.inference.infer import Inference, Setup, infer_trained
from raysplit.analysis.inference.replay import observe_round
from raysplit.analysis.inference.tail_gradients import TailGradients
from raysplit.analysis.inference.target import portions_of
from raysplit.analysis.runs.trained import Trained, read_trained
from raysplit.app.commands.infer import threat_lines
from raysplit.channels.channel import Channel
from raysplit.errors import RunError, ScenarioError
from raysplit.population.arrow import ArrowFile
from raysplit.scenario.scenario import Evaluation, Scenario
from raysplit.storage.run_folder import RunFolder
from tests.toys import toy

U_SHAPED = SplitFedV2(u_shaped=True)


def ran(scenario, tmp_path) -> Trained:
    run = raysplit.run(scenario, engine="local", out=tmp_path)
    return read_trained(run.path, scenario)


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory) -> Trained:
    """Toys with a tail of one layer, one sample a step."""
    scenario = toy(U_SHAPED, tail="fc1", clients=8, training__batch_size=1, training__lr=0.01)
    return ran(scenario, tmp_path_factory.mktemp("one_by_one"))


def value(found: Inference, of: str, metric: str) -> float:
    return next(score.value for score in found.scores if (score.of, score.metric) == (of, metric))


def test_the_oracle_gets_what_backward_passes_left_with_the_tail(one_by_one):
    """At the first step of every client the tail is the initial one: its gradient is (p − e_y)·hᵀ."""
    attack = GradientMatchingLabels()
    found = infer_trained(one_by_one, attack, None, Setup(round=1, samples=1000))
    victims, gradients = found.victims, found.target.u_shape.gradients
    assert set(gradients) == {"fc2.weight", "fc2.bias"} and len(gradients["fc2.bias"]) == len(victims)
    tail = portions_of(one_by_one.scenario, one_by_one.scenario.seed).tail
    first = [index for index, (_, step) in enumerate(victims.steps) if step == 0]
    assert len(first) == 8
    for index in first:
        h = victims.messages[Channel.FEATURES][index : index + 1]
        residual = tail(h).softmax(1) - functional.one_hot(victims.y[index : index + 1], 5)
        assert gradients["fc2.weight"][index].allclose(residual.T @ h, atol=1e-6)
    assert value(found, "GradientMatchingLabels", "labels right") == 1
    signs = infer_trained(one_by_one, SignLabels(), None, Setup(round=2, samples=1000))
    assert value(signs, "SignLabels", "labels right") == 1
    assert value(found, "the commonest label", "labels right") < 0.5
    assert any("an oracle: no message brings 'tail_gradients'" in line for line in threat_lines(found))
    assert "tail_gradients" in record_of(found)["adversary"]["assumed"]


def test_the_true_tail_of_one_client_gives_the_labels_of_all(one_by_one):
    attack = GradientMatchingLabels(form="protocol", true_tail=True)
    found = infer_trained(one_by_one, attack, Adversary(("main_server", "client")), Setup(round=2, samples=1000))
    assert len(set(found.victims.clients.tolist())) == 8
    assert value(found, "GradientMatchingLabels", "labels right") == 1
    assert threat_lines(found)[1].endswith("knows by its parties client_weights; assumed besides: nothing")


def test_watching_the_tail_changes_no_bit_of_a_round(one_by_one):
    folder, scenario = RunFolder(one_by_one.path), one_by_one.scenario
    asked = Observe((2,), ("smashed", "features", "feature_gradients"), max_samples=1000)
    plain = observe_round(folder, scenario, asked).observations
    watched = observe_round(folder, scenario, asked, TailGradients(2))
    assert len(plain) == len(watched.observations) > 20
    for one, other in zip(plain, watched.observations, strict=True):
        assert one.tensors["tensor"].equal(other.tensors["tensor"])
    tails = TailGradients(2)
    observe_round(folder, scenario, asked, tails)
    assert {step for _, step in tails.found} == {0, 1}


def test_clusters_are_scored_by_the_best_naming_beside_dice(tmp_path):
    trained = ran(toy(U_SHAPED, tail="fc1", clients=12, training__lr=0.01), tmp_path)
    found = infer_trained(trained, ClusterLabels(), None, Setup(round=1, samples=1000))
    assert [score.metric for score in found.scores if score.of == "ClusterLabels"] == ["labels right, best naming"]
    right, dice = (value(found, of, "labels right, best naming") for of in ("ClusterLabels", "dice"))
    assert right > 0.9 and dice < 0.5
    assert found.adversary == Adversary() and threat_lines(found)[1].endswith("assumed besides: nothing")


def test_labels_that_were_told_are_not_scored_and_stand_beside_a_model_on_them_alone(one_by_one):
    found = infer_trained(one_by_one, ClusterLabels(known=1), None, Setup(round=1, samples=1000))
    assert found.told == 5 and record_of(found)["known_labels"] == 5
    assert "told the labels of 5 of them, which are not scored" in threat_lines(found)[1]
    alone = value(found, "the known samples alone", "labels right")
    assert value(found, "ClusterLabels", "labels right") > 0.9 > 0.5 > alone
    right = found.found.labels == found.victims.y
    assert value(found, "ClusterLabels", "labels right") == pytest.approx((int(right.sum()) - 5) / (len(right) - 5))
    with pytest.raises(RunError, match="was told the labels of all"):
        infer_trained(one_by_one, ClusterLabels(known=100), None, Setup(round=1, samples=1000))


def test_one_class_against_the_rest_is_scored_by_leak_auc(tmp_path):
    trained = ran(toy(U_SHAPED, tail="fc1", clients=12, training__lr=0.01), tmp_path)
    found = infer_trained(trained, DirectionLabels(positive=2), None, Setup(round=1, samples=1000))
    assert value(found, "DirectionLabels", "leak AUC") > 0.95
    assert value(found, "DirectionLabels", "leak AUC, median batch") > 0.95
    path = write_inference(found, RunFolder(trained.path).inference)
    assert json.loads((path / "inference.json").read_text())["adversary"]["assumed"] == ["known_labels"]
    few = Setup(round=1, samples=1)
    with pytest.raises((RunError, ScenarioError), match=r"attack more|raise --samples|told the labels of all"):
        infer_trained(trained, DirectionLabels(positive=int(found.victims.y[0])), None, few)


def test_the_model_in_use_shows_features_where_it_is_u_shaped(tmp_path):
    trained = ran(toy(U_SHAPED, cut="V1", tail="fc1", clients=12, evaluation__clients=None), tmp_path)
    found = infer_trained(trained, ModelCompletion(steps=5), None, Setup(samples=20))
    z, h = (found.victims.messages[channel] for channel in (Channel.SMASHED, Channel.FEATURES))
    assert h.shape == (20, 7) and found.target.u_shape.features(z).allclose(h, atol=1e-6)
    assert found.target.finish(z).shape == (20, 5)


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (
            ClusterLabels(),
            "goes by 'feature_gradients', which there are in training only; name a round, as in --round 1",
        ),
        (SignLabels(), "goes by 'tail_gradients', which there are in training only"),
        (GradientMatchingLabels(), "goes by 'tail_gradients', which there are in training only"),
        (QueryFree(epochs=1, steps=1), "the last layers of a U-shaped SplitFedV2 are the client's"),
    ],
)
def test_what_the_model_in_use_does_not_show_is_said(one_by_one, attack, words):
    with pytest.raises((RunError, ScenarioError), match=words):
        infer_trained(one_by_one, attack, None, Setup())


def test_where_labels_travel_there_is_no_tail_whose_gradients_could_be_watched(tmp_path):
    trained = ran(toy(SplitFedV2(), training__batch_size=1, training__rounds=1), tmp_path)
    with pytest.raises(RunError, match="SplitFedV2 is not U-shaped, so that clients have no tail"):
        infer_trained(trained, SignLabels(), None, Setup(round=1))


@pytest.mark.slow
def test_weight_gradients_of_one_layer_give_every_mnist_label_as_published(prepared_sets, tmp_path):
    """Erdoğan et al. 2021, Table 3: 100 % at depth one, while what a server sees leaves names to chance."""
    path = prepared_sets / "mnist.arrow"
    if not path.exists():
        pytest.skip("needs real data: MNIST is not in RAYSPLIT_TEST_DATA")
    scenario = Scenario(
        name="labels",
        population=subset(ArrowFile(str(path)), train=200, test=50),
        model=unsplit_mnist(cut="1", tail="relu4"),
        protocol=SplitLearning(u_shaped=True),
        cohort=Cohort(1),
        training=Training(rounds=1, lr=1e-3, batch_size=1, optimizer=Adam()),
        evaluation=Evaluation(every=1),
    )
    trained = ran(scenario, tmp_path)
    setup = Setup(round=1, samples=200)
    assert (
        value(infer_trained(trained, GradientMatchingLabels(), None, setup), "GradientMatchingLabels", "labels right")
        == 1
    )
    clusters = infer_trained(trained, ClusterLabels(), None, setup)
    assert value(clusters, "ClusterLabels", "labels right, best naming") > 0.9
