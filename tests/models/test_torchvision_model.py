"""torchvision's networks as chains of their children, and which are none."""

import pytest
import torch

from raysplit.errors import ScenarioError
from raysplit.models.network import build, cut, stage_names
from raysplit.models.torchvision_model import torchvision_model

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
