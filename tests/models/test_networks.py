import pytest
import torch
from torch import nn

from raysplit.errors import ScenarioError
from raysplit.models.femnist_cnn import femnist_cnn, leaf_cnn
from raysplit.models.flat import digest
from raysplit.models.network import build, check_cut, cut, stage_names
from tests.toys import ToyCnn

STAGES = ["conv1", "conv2", "fc1", "fc2"]


def count(modules):
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.mark.parametrize(
    "model,whole,client",
    [(femnist_cnn, 848_382, [416, 13_248, 816_576]), (leaf_cnn, 6_603_710, [832, 52_096, 6_476_672])],
)
def test_the_femnist_networks_have_the_papers_sizes(model, whole, client):
    network = build(model(), 42)
    assert count([network]) == whole
    for name, size in zip(["V1", "V2", "V3"], client, strict=True):
        portions = cut(network, model(name), split=True, u_shaped=False)
        assert count(portions.client) == size
        assert count(portions.server) == whole - size


def test_pooling_before_relu_equals_relu_before_pooling_to_the_last_bit():
    conv, pool, relu = nn.Conv2d(1, 16, 5, padding=2), nn.MaxPool2d(2), nn.ReLU()
    x = torch.rand(7, 1, 28, 28)
    assert pool(relu(conv(x))).equal(relu(pool(conv(x))))
    stage = build(femnist_cnn(), 42).conv1
    assert [type(layer) for layer in stage] == [nn.Conv2d, nn.MaxPool2d, nn.ReLU]


@pytest.mark.parametrize("model", [ToyCnn, femnist_cnn])
def test_where_a_network_is_cut_never_changes_its_initial_weights(model):
    def initial(seed, cut_name, tail=None, u_shaped=False, split=True):
        spec = model(cut_name, tail)
        portions = cut(build(spec, seed), spec, split, u_shaped)
        return digest({n: t for m in portions.client + portions.server for n, t in m.state_dict().items()})

    whole = initial(42, None, split=False)
    assert {initial(42, name) for name in ("V1", "V2", "V3", "conv1")} == {whole}
    assert initial(42, "V1", "fc1", u_shaped=True) == whole
    assert initial(43, "V1") != whole


def test_building_a_network_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    build(ToyCnn(), 1)
    assert torch.random.get_rng_state().equal(before)


def test_portions_applied_in_turn_are_the_network():
    spec = femnist_cnn("V1", "fc1")
    network = build(spec, 42)
    portions = cut(network, spec, split=True, u_shaped=True)
    x = torch.rand(3, 1, 28, 28)
    assert portions.tail(portions.body(portions.head(x))).equal(network(x))
    assert [[name for name, _ in m.named_children()] for m in (portions.head, portions.body, portions.tail)] == [
        ["conv1"],
        ["conv2", "fc1"],
        ["fc2"],
    ]


def test_stage_names_cost_no_memory():
    assert stage_names(leaf_cnn()) == STAGES


def test_convolutions_run_in_channels_last():
    network = build(ToyCnn(), 42)
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in network.parameters() if p.dim() == 4)
    assert build(ToyCnn(), 42, torch.float64).fc2.weight.dtype == torch.float64


@pytest.mark.parametrize(
    "model,split,u_shaped,sentence",
    [
        (ToyCnn("V4"), True, False, "ToyCnn has no cut 'V4'; did you mean 'V"),
        (ToyCnn("conv"), True, False, "ToyCnn has no cut 'conv'; did you mean 'conv"),
        (ToyCnn("middle"), True, False, "choose from 'V1', 'V2', 'V3', 'conv1', 'conv2', 'fc1', 'fc2'"),
        (
            ToyCnn(None),
            True,
            False,
            "this protocol splits the model, so ToyCnn needs cut=…: V1, V2, V3 or a stage name",
        ),
        (ToyCnn("fc2"), True, False, "ToyCnn(cut='fc2') leaves the server no stage; cut earlier"),
        (ToyCnn("V1"), True, True, "a U-shaped protocol needs ToyCnn(tail=…)"),
        (ToyCnn("V1", "fc3"), True, True, "ToyCnn has no tail 'fc3'; did you mean 'fc"),
        (ToyCnn("V2", "conv2"), True, True, "ToyCnn(cut='V2', tail='conv2') leaves the server no stage"),
        (ToyCnn("V3", "V1"), True, True, "leaves the server no stage"),
    ],
)
def test_a_wrong_cut_gets_one_sentence_that_says_what_would_be_right(model, split, u_shaped, sentence):
    with pytest.raises(ScenarioError) as caught:
        check_cut(model, split, u_shaped)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_uncut_protocol_ignores_the_cut():
    assert check_cut(ToyCnn("nowhere", "either"), split=False, u_shaped=False) == (4, 4)


@pytest.mark.parametrize(
    "layer",
    [nn.AlphaDropout(0.5), nn.RReLU(), nn.BatchNorm1d(5, momentum=None)],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_with_hidden_randomness_or_memory_are_refused_by_name(layer):
    class Odd(ToyCnn):
        def stages(self):
            return [*super().stages(), ("odd", layer)]

    with pytest.raises(ScenarioError, match="'odd'"):
        build(Odd(), 42)


class Padded(ToyCnn):
    """ToyCnn between two stages that have nothing to learn."""

    def stages(self):
        return [("input", nn.Identity()), *super().stages(), ("output", nn.Identity())]


@pytest.mark.parametrize(
    "model,u_shaped,sentence",
    [
        (Padded("input"), False, "Padded(cut='input') leaves the client no parameters to train; cut later"),
        (Padded("fc2"), False, "Padded(cut='fc2') leaves the server no parameters to train; cut earlier"),
        (Padded("input", "fc1"), True, "leaves the client no parameters to train"),
    ],
)
def test_a_party_without_parameters_is_refused(model, u_shaped, sentence):
    with pytest.raises(ScenarioError) as caught:
        cut(build(model, 42), model, split=True, u_shaped=u_shaped)
    assert sentence in str(caught.value)


def test_no_layer_writes_into_what_the_other_party_holds():
    class InPlace(ToyCnn):
        def stages(self):
            return [
                ("conv", nn.Conv2d(1, 2, 3)),
                ("act", nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(72, 5))),
            ]

    portions = cut(build(InPlace("conv"), 42), InPlace("conv"), split=True, u_shaped=False)
    z = portions.head(torch.rand(2, 1, 8, 8)).detach().requires_grad_()
    before = z.detach().clone()
    portions.body(z).sum().backward()
    assert z.equal(before)
