"""The exact case: one sample through a dense first layer is read off a run's update."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import raysplit
from raysplit import DenseLayerInversion, FedAvg, Sgd, SplitFedV2
from raysplit.analysis.inference.infer import infer_trained
from raysplit.analysis.inference.setup import Setup
from raysplit.analysis.runs.trained import read_trained
from raysplit.contracts import ModelSpec, part
from raysplit.errors import ScenarioError
from tests.toys import toy


@part
class ToyMlp(ModelSpec):
    """A dense first layer, of ``units``."""

    cut: str | None = "first"
    units: int = 12
    input_shape: tuple[int, int, int] = (1, 8, 8)
    classes: int = 5

    def stages(self) -> list[tuple[str, nn.Module]]:
        first = nn.Sequential(nn.Flatten(), nn.Linear(64, self.units), nn.ReLU())
        return [("first", first), ("last", nn.Linear(self.units, 5))]


def attacked(protocol, tmp_path, samples=100, **changes):
    settings = {"training__optimizer": Sgd(), "training__rounds": 1, "training__batch_size": 1, **changes}
    scenario = toy(protocol, model=ToyMlp(), **settings)
    run = raysplit.run(scenario, engine="local", out=tmp_path)
    return infer_trained(read_trained(run.path, scenario), DenseLayerInversion(), None, Setup(round=1, samples=samples))


@pytest.mark.parametrize("protocol", [FedAvg(), SplitFedV2()])
@pytest.mark.parametrize(("precision", "within"), [("float32", 1e-6), ("float64", 1e-12)])
def test_one_sample_is_exact(protocol, precision, within, tmp_path):
    one = {"clients": 1, "population__smallest": 1}
    found = attacked(protocol, tmp_path, training__precision=precision, **one)
    assert len(found.victims) == 1 and found.adversary.parties == ("fed_server",) and found.adversary.knows == ()
    assert float((found.found.inputs - found.victims.x).abs().max()) < within


def test_one_sample_is_exact_after_several_steps_with_momentum(tmp_path):
    changes = {"training__optimizer": Sgd(momentum=0.9), "training__local_epochs": 3, "training__precision": "float64"}
    found = attacked(FedAvg(), tmp_path, clients=1, population__smallest=1, **changes)
    assert float((found.found.inputs - found.victims.x).abs().max()) < 1e-12
    decayed = {**changes, "training__optimizer": Sgd(weight_decay=0.1)}
    found = attacked(FedAvg(), tmp_path, clients=1, population__smallest=1, **decayed)
    assert float((found.found.inputs - found.victims.x).abs().max()) > 1e-6


def test_of_several_samples_those_are_exact_for_which_a_unit_was_active_alone():
    torch.manual_seed(0)
    x = torch.rand(3, 64, dtype=torch.float64)
    delta = torch.tensor([[1.0, 0, 0], [2, 0, 0], [0, 3, 0], [0.5, 0.4, 0], [1, -2, 3]], dtype=torch.float64)
    found = DenseLayerInversion()._samples(delta @ x, delta.sum(1), 3, (0.0, 1.0))
    assert torch.allclose(found[0], x[0], atol=1e-12)  # two units agree on it
    assert torch.allclose(found[1], x[1], atol=1e-12)
    assert torch.allclose(found[2], (0.5 * x[0] + 0.4 * x[1]) / 0.9, atol=1e-12)  # a mixture within the range
    more = DenseLayerInversion()._samples(delta @ x, delta.sum(1), 5, (0.0, 1.0))
    bias = delta.sum(1)
    assert more.shape == (5, 64) and torch.allclose(more[4], bias @ (delta @ x) / bias.square().sum(), atol=1e-12)


def test_of_several_samples_a_run_gives_rows_matched_to_the_true_ones(tmp_path):
    found = attacked(FedAvg(), tmp_path, training__batch_size=None)
    names = {score.of for score in found.scores}
    assert {"DenseLayerInversion, best matching", "auxiliary images, best matching", "mean image"} <= names
    assert found.found.inputs.shape == found.victims.x.shape and len(found.victims) > 20


def test_a_first_layer_that_is_not_dense_is_refused(tmp_path):
    scenario = toy(FedAvg())
    run = raysplit.run(scenario, engine="local", out=tmp_path)
    with pytest.raises(
        ScenarioError, match="off a dense first layer with a bias that trains, which ToyCnn does not have"
    ):
        infer_trained(read_trained(run.path, scenario), DenseLayerInversion(), None, Setup(round=1))


def test_no_unit_active_is_a_sentence():
    zeros = torch.zeros(4, 64), torch.zeros(4)
    with pytest.raises(ScenarioError, match="no unit was active"):
        DenseLayerInversion()._samples(*zeros, 1, (0.0, 1.0))
