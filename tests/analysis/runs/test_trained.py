"""The model of a run: the same answers, to the last bit, as the simulator's own evaluation gave."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch.nn import functional

import raysplit
from raysplit.app.running.engine_choice import EngineChoice
from raysplit.app.running.runner import Watch, jobs_from
from raysplit.app.running.runner import run as run_job
from raysplit.errors import PopulationError, RunError
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.splitfed_v1 import SplitFedV1
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.protocols.splitfed_v3 import SplitFedV3
from tests.toys import FrozenCnn, ToyClients, ToyCnn, toy

SCENARIOS = {
    "fedavg": toy(FedAvg()),
    "split": toy(SplitFedV1(), pixels="inverted"),
    "batch_norm": toy(SplitFedV2(), model=ToyCnn("V1", batch_norm=True), pixels="centred"),
    "u_shaped": toy(SplitFedV2(u_shaped=True), cut="V1", tail="fc1"),
    "personal": toy(SplitFedV3()),
    "float64": toy(SplitFedV2(), training__precision="float64"),
    "some_clients": toy(FedAvg(), evaluation__clients=3),
    "frozen": toy(SplitFedV1(), model=FrozenCnn("V2", None, True, ("conv1", "conv2"), True)),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_evaluate_gives_the_last_evaluation_of_the_run(tmp_path, name):
    run = raysplit.run(SCENARIOS[name], out=tmp_path)
    found, row = run.evaluate(), run.evaluations.to_pylist()[-1]
    assert (found.loss, found.accuracy) == (row["loss"], row["accuracy"])
    assert (found.clients, found.samples) == (row["clients"], row["samples"])


@pytest.mark.parametrize("name", SCENARIOS)
def test_evaluate_gives_the_accuracy_of_every_class_that_the_run_recorded(tmp_path, name):
    run = raysplit.run(SCENARIOS[name], out=tmp_path)
    found, row = run.evaluate(), run.evaluations.to_pylist()[-1]
    assert (found.balanced_accuracy, found.macro_f1) == (row["balanced_accuracy"], row["macro_f1"])
    assert found.by_class.accuracy == row["class_accuracy"]
    assert found.by_class.samples.tolist() == row["class_samples"] and sum(row["class_samples"]) == row["samples"]
    assert found.by_class.predicted.tolist() == row["class_predicted"] and sum(row["class_predicted"]) == row["samples"]


@pytest.mark.parametrize("name", ["fedavg", "split", "batch_norm", "u_shaped", "float64", "frozen"])
def test_model_answers_as_the_simulator_evaluated(tmp_path, name):
    scenario = SCENARIOS[name]
    run = raysplit.run(scenario, out=tmp_path)
    model, population = run.model(), scenario.population.open()
    assert not model.training
    tests = [population.test(client) for client in range(6)]
    with torch.no_grad():
        logits = model(torch.cat([own.x for own in tests]))
    y = torch.cat([own.y for own in tests])
    row = run.evaluations.to_pylist()[-1]
    by_class = [(logits.argmax(1)[y == label] == label).double().mean() for label in range(5)]
    assert row["class_accuracy"] == pytest.approx([float(share) for share in by_class], abs=1e-12)
    assert row["balanced_accuracy"] == pytest.approx(float(torch.stack(by_class).mean()), abs=1e-12)
    assert float((logits.argmax(1) == y).double().mean()) == pytest.approx(row["accuracy"], abs=1e-12)
    assert float(functional.cross_entropy(logits.double(), y)) == pytest.approx(row["loss"], rel=1e-6)


@pytest.mark.parametrize(
    ("pixels", "seen"),
    [("unit", lambda b: b / 255), ("inverted", lambda b: (255 - b) / 255), ("centred", lambda b: b / 127.5 - 1)],
)
def test_model_scales_bytes_as_the_run_did_and_lets_floats_pass(tmp_path, pixels, seen):
    run = raysplit.run(toy(FedAvg(), pixels=pixels), out=tmp_path)
    model, x = run.model(), torch.arange(64, dtype=torch.uint8).mul(4).reshape(1, 1, 8, 8)
    with torch.no_grad():
        assert torch.allclose(model(x), model.network(seen(x.float())), atol=1e-6)
        assert model(x.float()).equal(model.network(x.float()))


def test_a_checkpoint_says_how_samples_become_its_models_input(tmp_path):
    run = raysplit.run(toy(FedAvg(), pixels="inverted"), out=tmp_path)
    checkpoint = run.path / "checkpoints" / "round-000002"
    with safe_open(checkpoint / "model.safetensors", "pt") as file:
        about = file.metadata()
    assert about == {
        "model": "ToyCnn",
        "input": "[B, 1, 8, 8], float32",
        "pixels": "inverted",
        "of_a_byte_b": "1 - b / 255",
    }
    assert json.loads((checkpoint / "state.json").read_text())["about"] == about


def test_a_client_with_a_portion_of_its_own_has_a_model_of_its_own(tmp_path):
    run = raysplit.run(toy(SplitFedV3()), out=tmp_path)
    x = ToyClients().open().test(0).x
    with torch.no_grad():
        assert not run.model(client=0)(x).equal(run.model(client=1)(x))
    with pytest.raises(RunError, match=r"clients of SplitFedV3 keep portions of their own.*ask for a client's"):
        run.model()
    with pytest.raises(RunError, match=r"there is no client 6 in the population 'toys', which has 6"):
        run.model(client=6)


def test_evaluate_takes_other_clients_and_another_population(tmp_path):
    run = raysplit.run(toy(FedAvg()), out=tmp_path)
    some = run.evaluate(clients=[4, 1])
    rows = {row["client"]: row for row in run.client_evaluations.to_pylist() if row["round"] == 2}
    assert some.scores.correct.tolist() == [rows[4]["correct"], rows[1]["correct"]]
    other = run.evaluate(ToyClients(clients=9))
    assert other.clients == 9 and other.samples == int(ToyClients(9).open().test_sizes(np.arange(9)).sum())
    with pytest.raises(PopulationError, match=r"takes samples of shape"):
        run.evaluate(ToyClients(shape=(1, 9, 9)))
    with pytest.raises(RunError, match=r"there is no client 6"):
        run.evaluate(clients=[6])


def test_threads_and_random_numbers_of_the_notebook_stay_as_they_were(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        state = torch.random.get_rng_state()
        run = raysplit.run(toy(FedAvg()), out=tmp_path)
        run.model()
        run.evaluate()
        assert torch.get_num_threads() == 2 and torch.random.get_rng_state().equal(state)
    finally:
        torch.set_num_threads(before)


FILE = """
from raysplit import Cohort, FedAvg, Scenario, Training
from tests.toys import ToyClients, ToyCnn

scenario = Scenario(
    name="toy", population=ToyClients(), model=ToyCnn(), protocol=FedAvg(), cohort=Cohort(6),
    training=Training(rounds=2, lr=0.05),
)
"""


def test_a_run_from_a_file_has_its_model_when_it_is_only_opened(tmp_path):
    (tmp_path / "toy.py").write_text(FILE)
    [job] = jobs_from(tmp_path / "toy.py", tmp_path / "runs", ["training.lr=0.01"])
    run = raysplit.open_run(run_job(job, EngineChoice(engine="local"), Watch()).folder.path)
    assert run.evaluate().loss == run.evaluations.to_pylist()[-1]["loss"]


def test_a_run_from_python_has_its_model_when_it_is_run_again_and_not_when_it_is_only_opened(tmp_path):
    run = raysplit.run(toy(FedAvg()), out=tmp_path)
    with pytest.raises(RunError, match=r"holds no scenario file; call raysplit.run with the same scenario again"):
        raysplit.open_run(run.path).model()
    assert raysplit.run(toy(FedAvg()), out=tmp_path).evaluate().loss == run.evaluate().loss
