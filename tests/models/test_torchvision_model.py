"""torchvision's networks as chains of their children, and which are none."""

import pytest
import torch

from raysplit.errors import ScenarioError
from raysplit.models.network import build, cut, stage_names
from raysplit.models.torchvision_model import torchvision_model
from raysplit.parts.canonical import to_json

TINY = (3, 32, 32)


@pytest.mark.parametrize(
    "name,shape",
    [
        ("resnet18", TINY),
        ("mobilenet_v2", TINY),
        ("mobilenet_v3_small", TINY),
        ("shufflenet_v2_x0_5", TINY),
        ("squeezenet1_1", (3, 64, 64)),
        ("mnasnet0_5", TINY),
        pytest.param("densenet121", TINY, marks=pytest.mark.slow),
        pytest.param("efficientnet_b0", TINY, marks=pytest.mark.slow),
        pytest.param("regnet_y_400mf", TINY, marks=pytest.mark.slow),
    ],
)
def test_the_chain_of_children_is_the_network(name, shape):
    from torchvision import models

    spec = torchvision_model(name, input_shape=shape, classes=4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        whole = models.get_model(name, num_classes=4).eval()
        torch.manual_seed(3)
        chain = torch.nn.Sequential(*(stage for _, stage in spec.stages())).eval()
    x = torch.rand(3, *shape)
    torch.testing.assert_close(chain(x), whole(x), rtol=1e-4, atol=1e-5)
    assert [n.replace("_", ".") for n in stage_names(spec)] == [name.replace("_", ".") for name, _ in spec_names(whole)]


def spec_names(network):
    """Children, those of plain sequences in their stead."""
    found = []
    for name, child in network.named_children():
        inner = spec_names(child) if type(child) is torch.nn.Sequential else []
        found += [(f"{name}.{n}", c) for n, c in inner] or [(name, child)]
    return found


def test_stages_end_where_they_are_told_to():
    ends = ["features.0", "features.3", "features", "classifier.0"]
    spec = torchvision_model("mobilenet_v3_small", ends, cut="features.3", input_shape=TINY, classes=4)
    assert stage_names(spec) == ["features_0", "features_3", "features", "classifier_0"]
    assert spec.cuts["features.3"] == "features_3"
    network = build(spec, 1)
    portions = cut(network, spec, split=True, u_shaped=False)
    x = torch.rand(2, *TINY)
    assert portions.body.eval()(portions.head.eval()(x)).equal(network.eval()(x))
    assert len(portions.head.features_3) == 3
    every = torchvision_model("mobilenet_v3_small", input_shape=TINY, classes=4)
    assert build(every, 1).eval()(x).equal(network(x))


def test_options_go_to_the_maker_and_into_the_hash():
    with_none = torchvision_model("mobilenet_v3_small", input_shape=TINY, classes=4, dropout=0.0)
    assert with_none.options == (("dropout", 0.0),)
    assert build(with_none, 1).training


@pytest.mark.parametrize(
    "make,sentence",
    [
        (
            lambda: torchvision_model("resnet81"),
            "torchvision has no classification model 'resnet81'; did you mean 'resnet1",
        ),
        (
            lambda: torchvision_model("resnet18", ["layer9"]),
            "torchvision's resnet18 has no stage 'layer9'; did you mean 'layer",
        ),
        (
            lambda: torchvision_model("resnet18", ["layer2", "layer1"]),
            "stand in another order: conv1, bn1, relu, maxpool, layer1.0",
        ),
        (lambda: torchvision_model("resnet18", wings=2), "torchvision's resnet18 cannot be made with {'wings': 2}"),
        (
            lambda: torchvision_model("googlenet", input_shape=TINY, classes=4, init_weights=False).stages(),
            "torchvision's googlenet cannot be cut by its children, because its forward is not their chain: 'aux1' "
            "cannot take",
        ),
        (
            lambda: torchvision_model("alexnet", input_shape=TINY).stages(),
            "torchvision's alexnet cannot take samples of shape (3, 32, 32)",
        ),
        (
            lambda: build(torchvision_model("efficientnet_b0", input_shape=TINY, classes=4), 1),
            "draws random numbers without a seeded stream",
        ),
    ],
)
def test_what_torchvision_does_not_have_is_one_sentence(make, sentence):
    with pytest.raises(ScenarioError) as caught:
        make()
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


SMALL = {"input_shape": TINY, "classes": 4}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of weights of resnet18 for seven classes, and its tensors."""
    from torchvision import models

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        state = models.get_model("resnet18", num_classes=7).state_dict()
    path = tmp_path_factory.mktemp("weights") / "resnet18.pt"
    torch.save(state, path)
    return path, state


def test_weights_come_from_a_file_but_for_a_last_layer_of_other_classes(weights):
    path, state = weights
    fresh, here = torchvision_model("resnet18", **SMALL), torchvision_model("resnet18", weights=str(path), **SMALL)
    network, before = build(here, 1), build(fresh, 1)
    assert network.layer1_0.conv1.weight.equal(state["layer1.0.conv1.weight"])
    assert network.bn1.running_var.equal(state["bn1.running_var"])
    last = [name for name in before.state_dict() if name.startswith("fc")]
    assert last and all(network.state_dict()[name].equal(before.state_dict()[name]) for name in last)
    same = torchvision_model("resnet18", weights=str(path), input_shape=TINY, classes=7)
    assert any(p.equal(state["fc.weight"]) for p in build(same, 1).parameters())


def test_making_a_network_with_weights_warns_of_nothing(weights, recwarn):
    stage_names(torchvision_model("resnet18", weights=str(weights[0]), **SMALL))
    assert not [warning for warning in recwarn if "meta" in str(warning.message)]


def test_the_content_of_the_file_names_the_scenario(weights, tmp_path):
    model = torchvision_model("resnet18", weights=str(weights[0]), **SMALL)
    plain = torchvision_model("resnet18", **SMALL)
    assert "weights" not in to_json(plain) and to_json(model)["weights_sha256"] == model.weights_sha256
    copied = tmp_path / "resnet18.pt"
    torch.save({name: tensor + 1 for name, tensor in weights[1].items()}, copied)
    other = torchvision_model("resnet18", weights=str(copied), **SMALL)
    assert other.weights_sha256 != model.weights_sha256
    torch.save(weights[1], copied)
    with pytest.raises(ScenarioError, match="has changed since the scenario was made from it"):
        build(other, 1)


def test_frozen_stages_do_not_train_and_keep_their_statistics(weights):
    model = torchvision_model("resnet18", ["layer1", "layer4"], weights=str(weights[0]), frozen="layer1", **SMALL)
    network = build(model, 1)
    assert not any(p.requires_grad for p in network.layer1.parameters()) and not network.layer1.training
    assert all(p.requires_grad for p in network.layer4.parameters()) and network.layer4.training


def test_normalised_samples_are_what_torchvisions_own_transform_gives(weights):
    from torchvision.models import ResNet18_Weights

    transform = ResNet18_Weights.IMAGENET1K_V1.transforms()
    x = torch.rand(2, *TINY)
    expected = (x - torch.tensor(transform.mean).view(3, 1, 1)) / torch.tensor(transform.std).view(3, 1, 1)
    stages = dict(torchvision_model("resnet18", ["conv1", "fc"], normalise=True, **SMALL).stages())
    torch.testing.assert_close(stages["conv1"][0](x), expected)


@pytest.mark.parametrize(
    "options,sentence",
    [
        ({"weights": "IMAGENET1K_V1"}, "weights IMAGENET1K_V1 of resnet18 are not on this machine; download https://"),
        (
            {"weights": "nowhere.pt"},
            "there is no file of weights 'nowhere.pt'; give a path, or a name of torchvision's",
        ),
        ({"frozen": "layer9"}, "torchvision's resnet18 has no stage 'layer9' to freeze"),
        ({"normalise": True, "input_shape": (1, 32, 32)}, "normalise is about three colours"),
    ],
)
def test_weights_and_stages_that_are_not_there_are_one_sentence(options, sentence, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ScenarioError) as caught:
        torchvision_model("resnet18", **{**SMALL, **options})
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_weights_that_are_no_tensors_of_the_network_are_one_sentence(weights, tmp_path):
    _, state = weights

    def refused(name, content):
        torch.save(content, tmp_path / name)
        with pytest.raises(ScenarioError) as caught:
            build(torchvision_model("resnet18", weights=str(tmp_path / name), **SMALL), 1)
        return str(caught.value)

    assert "it has 'more'" in refused("more.pt", {**state, "more": torch.zeros(1)})
    assert "it lacks 'conv1.weight'" in refused("less.pt", {n: t for n, t in state.items() if n != "conv1.weight"})
    assert "'bn1.bias' is [2] there and [64] here" in refused("wide.pt", {**state, "bn1.bias": torch.zeros(2)})
    assert "holds no tensors by name" in refused("list.pt", [torch.zeros(1)])
    assert "holds more than tensors" in refused("code.pt", {"a": pytest.raises})
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(ScenarioError, match=r"text\.pt (is no readable file of weights|holds more than tensors)"):
        build(torchvision_model("resnet18", weights=str(tmp_path / "text.pt"), **SMALL), 1)
