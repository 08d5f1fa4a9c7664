"""A user's own chain: hashed with its source and its arguments, and checked."""

import functools

import pytest
import torch
from torch import nn

from raysplit.errors import ScenarioError
from raysplit.models.keyed import keyed_layers_in
from raysplit.models.network import build, check_cut, stage_names
from raysplit.models.sequential import sequential
from raysplit.parts.code_digest import code_digest
from raysplit.protocols.splitfed_v1 import SplitFedV1
from tests.toys import play, toy


def small(width=6, layers=1):
    return [
        ("conv", nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU())),
        *((f"more{i}", nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU())) for i in range(layers)),
        ("fc", nn.Sequential(nn.Flatten(), nn.Linear(36 * width, 5))),
    ]


def other(width=6, layers=1):
    return {"conv": nn.Conv2d(1, width, 3), "fc": nn.Sequential(nn.Flatten(), nn.Linear(36 * width, 5))}


def scenario(model):
    return toy(SplitFedV1(), model=model)


def test_a_function_of_stages_is_a_model_and_trains():
    model = sequential(small, (1, 8, 8), 5, cut="V1", cuts={"V1": "conv"}, width=3, layers=2)
    assert stage_names(model) == ["conv", "more0", "more1", "fc"]
    assert check_cut(model, split=True, u_shaped=False) == (1, 4)
    assert build(model, 1)(torch.rand(2, 1, 8, 8)).shape == (2, 5)
    assert play(scenario(model)).digest == play(scenario(model)).digest


def test_the_canonical_form_has_the_source_the_arguments_and_the_cuts():
    model = sequential(small, (1, 8, 8), 5, cut="V1", cuts={"V1": "conv"}, width=3)
    form = scenario(model).to_json()["model"]
    assert form["make"] == {"type": "function", "name": "small", "source_sha256": code_digest(small)}
    assert form["options"] == [["width", 3]] and form["named_cuts"] == [["V1", "conv"]]


def test_whatever_changes_the_network_changes_the_hash():
    makes = [(small, {}), (small, {"width": 3}), (small, {"layers": 2}), (other, {})]
    hashes = {scenario(sequential(make, (1, 8, 8), 5, "conv", **options)).hash for make, options in makes}
    assert len(hashes) == 4
    assert scenario(sequential(small, (1, 8, 8), 5, "conv")).hash in hashes


def enclosed(width):
    def inner():
        return [("conv", nn.Conv2d(1, 2, 3)), ("fc", nn.Sequential(nn.Flatten(), nn.Linear(72, width)))]

    return inner


def test_what_a_function_uses_from_around_it_changes_the_hash():
    hashes = [scenario(sequential(enclosed(width), (1, 8, 8), 5, "conv")).hash for width in (5, 6, 5)]
    assert hashes[0] == hashes[2] != hashes[1]


def test_a_mapping_of_stages_will_do():
    assert stage_names(sequential(other, (1, 8, 8), 5)) == ["conv", "fc"]


def dotted():
    return [("a.b", nn.Flatten())]


def twice():
    return [("a", nn.Flatten()), ("a", nn.Flatten())]


def bare():
    return [nn.Flatten()]


def empty():
    return []


@pytest.mark.parametrize(
    "make,sentence",
    [
        (functools.partial(small, 3), "needs a function that makes stages, whose source names the scenario"),
        (dotted, "dotted() names a stage 'a.b'; a stage's name is a text without '.'"),
        (twice, "twice() gives two stages named 'a'"),
        (bare, "bare() must give pairs (name, torch module), but it gives Flatten("),
        (empty, "empty() gives no stage"),
    ],
)
def test_what_is_no_chain_of_named_stages_is_one_sentence(make, sentence):
    with pytest.raises(ScenarioError) as caught:
        stage_names(sequential(make, (1, 8, 8), 5))
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_a_model_without_paper_cuts_offers_its_stages():
    with pytest.raises(ScenarioError, match=r"needs cut=…: conv, more0$"):
        check_cut(sequential(small, (1, 8, 8), 5), split=True, u_shaped=False)


class Hidden(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.5, self.training)


def drawing():
    return [("a", nn.Sequential(nn.Flatten(), Hidden())), ("b", nn.Linear(64, 5))]


def test_a_layer_that_draws_in_its_own_way_is_named():
    sentence = r"Sequential's 'a\.1' draws random numbers without a seeded stream; use nn\.Dropout, which gets one"
    with pytest.raises(ScenarioError, match=sentence):
        build(sequential(drawing, (1, 8, 8), 5), 1)


class Attending(nn.Module):
    """[B, 1, 8, 8] → [B, 64], with dropout as a transformer has it."""

    def __init__(self, attention):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.5, batch_first=True)
        if attention is not None:
            self.layer.self_attn.dropout = attention

    def forward(self, x):
        return self.layer(x.flatten(1, 2)).flatten(1)


def transformer(attention):
    return lambda: [("a", Attending(attention)), ("b", nn.Linear(64, 5))]


def test_the_dropout_of_a_transformer_is_refused_with_what_to_do_and_that_works():
    with pytest.raises(ScenarioError) as refused:
        build(sequential(transformer(None), (1, 8, 8), 5), 1)
    assert "'a.layer.self_attn' draws random numbers" in str(refused.value)
    assert "layer.self_attn.dropout = 0.0, which keeps the layer's own nn.Dropout" in str(refused.value)
    network = build(sequential(transformer(0.0), (1, 8, 8), 5), 1)
    assert len(keyed_layers_in([network])) == 3


def recurrent():
    return [("a", nn.Sequential(nn.Flatten(2), nn.Flatten(1, 1), Last())), ("b", nn.Linear(8, 5))]


class Last(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(64, 8, num_layers=2, dropout=0.5, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0][:, -1]


def test_the_dropout_between_layers_of_an_lstm_is_refused_with_what_to_do():
    with pytest.raises(ScenarioError, match=r"lstm' draws .* make it with dropout=0\.0, and put nn\.Dropout"):
        build(sequential(recurrent, (1, 8, 8), 5), 1)


def test_checking_a_network_leaves_its_statistics_and_the_generator_alone():
    def normed():
        return [("a", nn.BatchNorm2d(1)), ("b", nn.Sequential(nn.Flatten(), nn.Linear(64, 5)))]

    before = torch.random.get_rng_state()
    network = build(sequential(normed, (1, 8, 8), 5), 1)
    assert not network.a.running_mean.any() and network.a.running_var.eq(1).all()
    assert network.a.num_batches_tracked == 0
    assert torch.random.get_rng_state().equal(before)


def test_a_network_that_cannot_take_its_own_samples_is_refused():
    with pytest.raises(ScenarioError, match=r"Sequential cannot take samples of shape \(1, 9, 9\)"):
        build(sequential(small, (1, 9, 9), 5), 1)
