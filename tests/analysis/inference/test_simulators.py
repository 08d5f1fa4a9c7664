"""SDAR on runs: with labels in training, and in a U-shape, where it names them."""

from __future__ import annotations

import json

import pytest

import raysplit
from raysplit import Sdar, SplitFedV2
from raysplit.analysis.inference.files import write_inference
from raysplit.analysis.inference.infer import Setup, infer_trained
from raysplit.analysis.runs.trained import Trained, read_trained
from raysplit.errors import RunError, ScenarioError
from tests.toys import toy

SMALL = Sdar(steps=5, batch_size=8, width=2)


def ran(scenario, tmp_path) -> Trained:
    run = raysplit.run(scenario, engine="local", out=tmp_path)
    return read_trained(run.path, scenario)


def metrics(found, of: str) -> set[str]:
    return {score.metric for score in found.scores if score.of == of}


@pytest.mark.parametrize("round", [None, 2])
def test_u_shaped_it_is_scored_by_images_labels_and_its_clone(round, tmp_path):
    trained = ran(toy(SplitFedV2(u_shaped=True), tail="fc1"), tmp_path)
    found = infer_trained(trained, SMALL, None, Setup(round=round, samples=12))
    assert metrics(found, "Sdar") == {
        *("MSE", "PSNR, dB", "SSIM", "MSE, stretched", "identified", "identified, stretched"),
        *("labels right", "labels right, best naming"),
        *("accuracy with the clone", "agreement with the model"),
    }
    with pytest.raises(ScenarioError, match="those of a U-shaped SplitFedV2 never leave their clients"):
        infer_trained(trained, Sdar(steps=1, by_label=True), None, Setup(round=1))


def test_it_is_told_the_labels_that_came_with_a_round_and_none_of_the_model_in_use(tmp_path):
    trained = ran(toy(SplitFedV2()), tmp_path)
    told = Sdar(steps=5, batch_size=8, width=2, by_label=True)
    found = infer_trained(trained, told, None, Setup(round=2, samples=12))
    assert found.found.labels is None and metrics(found, "Sdar") >= {"MSE", "accuracy with the clone"}
    blind = infer_trained(trained, SMALL, None, Setup(round=2, samples=12))
    assert not found.found.inputs.equal(blind.found.inputs)
    again = infer_trained(trained, told, None, Setup(round=2, samples=12))
    assert found.found.inputs.equal(again.found.inputs)
    record = json.loads((write_inference(found, tmp_path / "inference") / "inference.json").read_text())
    assert record["needs"] == ["architecture", "auxiliary_data", "server_weights"]
    with pytest.raises(RunError, match="labels, which come with smashed data in training only; name a round"):
        infer_trained(trained, told)
