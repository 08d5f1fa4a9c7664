"""Samples of a client's generator: scored beside honest and untrained ones, kept from others; and how far a portion
drifts."""

from __future__ import annotations

import json

import pytest
import torch

import raysplit
from raysplit import Adversary, GanAttack, GeneratedSamples, SplitFedV2, portion_drift
from raysplit.analysis.inference.files import write_inference
from raysplit.analysis.inference.generated import clean_classifier, spread
from raysplit.analysis.inference.infer import Setup, infer_trained
from raysplit.errors import RunError, ScenarioError
from tests.toys import toy

GAN = GanAttack(target=1, epsilon=0.25, latent=6, width=2, lr=1e-2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The attacked run and its clean twin."""
    out = tmp_path_factory.mktemp("runs")
    scenario = toy(
        SplitFedV2(u_shaped=True), cut="V1", tail="fc1", attack=GAN, cohort__malicious=0.34, checkpoint_every=1
    )
    return [
        raysplit.run(one, engine="local", out=out) for one in (scenario, scenario.replace(attack=None, name="clean"))
    ]


def test_samples_are_those_of_the_generator_before_the_round_and_scored_beside_guesses(runs, monkeypatch):
    monkeypatch.setattr("raysplit.analysis.inference.generated.STEPS", 5)
    trained = runs[0].trained()
    found = infer_trained(trained, GeneratedSamples(count=12), None, Setup(round=2))
    assert found.adversary == Adversary(("client",)) and found.found.samples.shape == (12, 1, 8, 8)
    assert found.found.samples_of == 1 and found.target.learned.generator.client == 1  # of 1 and 4
    scores = {(s.of, s.metric): s.value for s in found.scores}
    assert {of for of, _ in scores} == {
        "GeneratedSamples",
        "an untrained generator",
        "honest samples of the class",
        "the clean classifier",
    }
    samples, classifier = found.found.samples, clean_classifier(trained.scenario)
    with torch.no_grad():
        confidence = classifier(samples).softmax(1)[:, 1].mean()
    assert scores["GeneratedSamples", "confidence"] == pytest.approx(float(confidence), rel=1e-6)
    assert scores["GeneratedSamples", "confidence"] != scores["an untrained generator", "confidence"]
    path = write_inference(found, trained.path / "inference")
    assert (path / "images.png").stat().st_size > 0
    assert json.loads((path / "inference.json").read_text())["needs"] == ["generator"]


def test_without_what_was_learned_there_are_no_samples(runs):
    attacked, clean = (run.trained() for run in runs)
    with pytest.raises(RunError, match="nothing of it is kept there; choose a --round after"):
        infer_trained(attacked, GeneratedSamples(), None, Setup(round=1))
    with pytest.raises(ScenarioError, match="needs to know 'generator', which the adversary does not"):
        infer_trained(clean, GeneratedSamples(), None, Setup(round=2))
    with pytest.raises(ScenarioError, match="needs to know 'generator'"):
        infer_trained(attacked, GeneratedSamples(), Adversary(("main_server",)), Setup(round=2))


def test_the_spread_is_the_mean_distance_of_two_samples():
    x = torch.tensor([[[0.0, 0.0]], [[3.0, 4.0]], [[3.0, 4.0]]])
    assert spread(x) == pytest.approx((2 * (25 / 2) ** 0.5 + 0) / 3)


def test_drift_is_the_distance_to_the_clean_twin(runs):
    attacked, clean = runs
    found = portion_drift(attacked, clean)
    one, other = attacked.trained().state, clean.trained().state
    assert found["server"].from_clean == pytest.approx(float((one.server - other.server).norm()), rel=1e-5)
    assert found["client"].from_clean > 0 and found["client"].clean_from_start > 0
    assert portion_drift(clean, clean)["server"].from_clean == 0
