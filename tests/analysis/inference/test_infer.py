"""Inference on runs: replay equals what was recorded, the truth is the truth, and what is written."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
import torch
from PIL import Image

import raysplit
from raysplit import (
    Adversary,
    Cohort,
    FedAvg,
    LabelFlip,
    Observe,
    ParallelSl,
    SplitFedV1,
    SplitFedV2,
    SplitLearning,
    UnSplit,
    WhiteBoxInversion,
)
from raysplit.analysis.inference.files import write_inference
from raysplit.analysis.inference.infer import Setup, infer_trained
from raysplit.analysis.inference.replay import observe_round
from raysplit.analysis.report.page import write_report
from raysplit.analysis.runs.run import open_run
from raysplit.analysis.runs.trained import Trained, read_trained
from raysplit.channels.channel import Channel
from raysplit.errors import RunError, ScenarioError
from raysplit.storage.inferences import read_inferences
from raysplit.storage.run_folder import RunFolder
from tests.attacks.inference.test_observe import ALL, same
from tests.toys import ToyCnn, toy


def ran(scenario, tmp_path) -> Trained:
    run = raysplit.run(scenario, engine="local", out=tmp_path)
    return read_trained(run.path, scenario)


@pytest.mark.parametrize("protocol", [SplitFedV1(), SplitFedV2(), SplitLearning()])
def test_a_replayed_round_shows_what_a_recorded_one_kept(protocol, tmp_path):
    changes = {"training__rounds": 4, "checkpoint_every": 2}
    asked = Observe((4,), ALL)
    recorded = ran(toy(protocol, **changes, observe=Observe((3, 4), ALL)), tmp_path)
    plain = ran(toy(protocol, **changes), tmp_path)
    there = observe_round(RunFolder(recorded.path), recorded.scenario, asked)
    again = observe_round(RunFolder(plain.path), plain.scenario, asked)
    assert (plain.path / "observations").exists() is False
    assert same(there.observations, again.observations) and len(again.observations) > 4
    assert there.before.client.equal(again.before.client) and there.before.round == 3


@pytest.mark.parametrize("protocol", [SplitFedV2(), SplitFedV2(u_shaped=True)])
def test_the_truth_is_what_the_client_sent(protocol, tmp_path):
    """The first batch of every client, through the portion with which it began, gives its smashed data again."""
    tail = "fc1" if protocol.u_shaped else None
    trained = ran(toy(protocol, cut="V1", tail=tail), tmp_path)
    attack = WhiteBoxInversion(steps=1)
    found = infer_trained(trained, attack, Adversary(("main_server", "client")), Setup(round=2, samples=1000))
    victims, target = found.victims, found.target
    first = {
        int(client): int(batch) for client, batch in zip(victims.clients.flip(0), victims.batches.flip(0), strict=True)
    }
    rows = torch.tensor([int(b) == first[int(c)] for c, b in zip(victims.clients, victims.batches, strict=True)])
    assert len(first) == 6 and rows.sum() >= 18
    for batch in first.values():
        of = victims.batches == batch
        assert target.client(victims.x[of]).equal(victims.messages[Channel.SMASHED][of])
    assert (victims.labels is None) == protocol.u_shaped
    if victims.labels is not None:
        assert victims.labels.equal(victims.y)
    assert victims.batch_sizes.max() == 4


def test_batch_norm_in_training_mode_gives_the_truth_too(tmp_path):
    trained = ran(toy(SplitFedV2(), model=ToyCnn("V1", None, batch_norm=True)), tmp_path)
    found = infer_trained(
        trained, WhiteBoxInversion(steps=1), Adversary(("main_server", "client")), Setup(round=1, samples=3)
    )
    victims = found.victims
    for batch in victims.batches.unique():
        of = victims.batches == batch
        assert torch.allclose(found.target.client(victims.x[of]), victims.messages[Channel.SMASHED][of], atol=1e-6)


def test_poisoned_clients_are_no_victims_since_their_data_are_no_longer_the_truth(tmp_path):
    scenario = toy(SplitFedV2(), cohort=Cohort(6, malicious=0.5), attack=LabelFlip())
    trained = ran(scenario, tmp_path)
    seen = observe_round(RunFolder(trained.path), scenario, Observe((2,)))
    found = infer_trained(trained, UnSplit(rounds=1, input_steps=1), None, Setup(round=2, samples=1000))
    assert len(seen.malicious) == 3
    assert set(found.victims.clients.tolist()) == set(range(6)) - seen.malicious
    assert found.victims.labels is not None and found.victims.labels.equal(found.victims.y)


def test_victims_of_the_trained_model_are_one_of_each_class_first(tmp_path):
    trained = ran(toy(SplitFedV2(), clients=12), tmp_path)
    found = infer_trained(trained, UnSplit(rounds=1, input_steps=1), None, Setup(samples=7))
    assert found.victims.y.tolist()[:5] == [0, 1, 2, 3, 4] and found.victims.y.tolist()[5:] == [0, 1]
    assert found.target.client(found.victims.x[:1]).equal(found.victims.messages[Channel.SMASHED][:1])
    assert found.target.auxiliary is not None
    same_images = (found.target.auxiliary.x[:, None] == found.victims.x[None]).flatten(2).all(2)
    assert not same_images.any()


def test_scores_stand_beside_guesses_and_go_into_the_run_folder(tmp_path):
    trained = ran(toy(SplitFedV2(), clients=12), tmp_path)
    adversary = Adversary(("main_server", "client"))
    found = infer_trained(trained, WhiteBoxInversion(steps=300), adversary, Setup(samples=5))
    mse = {score.of: score.value for score in found.scores if score.metric == "MSE"}
    assert set(mse) == {"WhiteBoxInversion", "black image", "mean image", "mean image of the class"}
    assert mse["black image"] == pytest.approx(float(found.victims.x.square().mean()), rel=1e-6)
    path = write_inference(found, RunFolder(trained.path).inference)
    again = write_inference(found, RunFolder(trained.path).inference)
    assert path == again
    page = write_report([open_run(trained.path)], tmp_path / "report.html").read_text()
    assert "<h3>Inference</h3>" in page and "data:image/png;base64," in page and "mean image of the class" in page
    [(where, record)] = read_inferences(RunFolder(trained.path).inference)
    assert where == path and record["adversary"] == {"parties": ["main_server", "client"], "assumed": []}
    assert record["reads"] == ["smashed"] and record["scores"] == json.loads(json.dumps(record["scores"]))
    with Image.open(path / "images.png") as picture:
        assert picture.size == (5 * 10 * 3, (2 * 8 + 4) * 3)
    with pa.OSFile(str(path / "reconstructions.arrow")) as file:
        table = pa.ipc.open_file(file).read_all()
    errors = torch.tensor(table["squared_error"].to_pylist(), dtype=torch.float64)
    assert table.num_rows == 5 and errors.allclose(
        (found.found.inputs - found.victims.x).square().flatten(1).mean(1).double()
    )


def test_the_same_inference_twice_gives_the_same_bits(tmp_path):
    trained = ran(toy(SplitFedV2(), clients=12), tmp_path)
    one, other = (infer_trained(trained, UnSplit(rounds=2, input_steps=3), None, Setup(samples=3)) for _ in range(2))
    assert one.found.inputs.equal(other.found.inputs) and one.scores == other.scores


@pytest.mark.parametrize(
    ("protocol", "setup", "words"),
    [
        (FedAvg(), Setup(), "nothing to infer"),
        (ParallelSl(), Setup(), "--client 0"),
        (SplitFedV2(), Setup(round=9), "no round 9"),
        (SplitFedV2(), Setup(samples=0), "count from 1"),
        (SplitFedV2(), Setup(round=0), "no round 0 to attack"),
        (SplitFedV2(), Setup(client=6), "no client 6 in the population 'toys', which has 6"),
        (SplitFedV2(), Setup(client=-1, round=1), "no client -1"),
    ],
)
def test_what_cannot_be_attacked_is_said_in_a_sentence(protocol, setup, words, tmp_path):
    trained = ran(toy(protocol), tmp_path)
    with pytest.raises((RunError, ScenarioError), match=words):
        infer_trained(trained, UnSplit(rounds=1), None, setup)


def test_a_personal_portion_is_attacked_client_by_client(tmp_path):
    trained = ran(toy(ParallelSl(), evaluation__clients=None), tmp_path)
    found = infer_trained(trained, UnSplit(rounds=1, input_steps=1), None, Setup(client=3, samples=2))
    assert set(found.victims.clients.tolist()) == {3}
