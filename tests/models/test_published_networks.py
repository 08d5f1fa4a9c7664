"""Sizes, cuts and shapes as the papers give them, and the same numbers as torchvision's networks with the same
weights."""

import pytest
import torch

from raysplit.errors import ScenarioError
from raysplit.models.alexnet import alexnet, alexnet_imagenet
from raysplit.models.describe import describe
from raysplit.models.lenet import lenet
from raysplit.models.network import build, cut, stage_names
from raysplit.models.resnet import resnet18
from raysplit.models.unsplit import unsplit_cifar, unsplit_mnist
from raysplit.models.vgg import vgg11, vgg16


def size(modules):
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.mark.parametrize(
    "model,whole,client",
    [
        (alexnet, 2_472_266, {"V1": 23_296, "V2": 330_688, "V3": 2_469_696}),
        (vgg11, 9_225_610, {"V1": 75_648, "V2": 960_896, "V3": 4_500_864}),
        (lenet, 61_706, {"layer2": 156}),
        (unsplit_mnist, 45_278, {"0": 208, "1": 208, "3": 3_424, "6": 34_264, "9": 44_428}),
        (unsplit_cifar, 1_609_546, {"1": 1_792, "8": 260_160}),
        (resnet18, 11_180_103, {"layer3": 83_520}),
    ],
)
def test_client_and_server_portions_have_the_papers_sizes(model, whole, client):
    network = build(model(), 42)
    assert size([network]) == whole
    for name, expected in client.items():
        portions = cut(network, model(cut=name), split=True, u_shaped=False)
        assert size(portions.client) == expected
        assert size(portions.server) == whole - expected


def test_splitfeds_own_resnet_has_its_client_portion_and_smashed_shape():
    spec = resnet18(form="splitfed", cut="code")
    portions = cut(build(spec, 42), spec, split=True, u_shaped=False)
    assert size(portions.client) == 83_584
    assert portions.head(torch.rand(2, 3, 64, 64)).shape == (2, 64, 16, 16)
    assert size(portions.client + portions.server) == 11_184_775
    assert "code" not in resnet18().cuts


def test_unsplits_mnist_layers_have_the_published_shapes():
    shapes = [stage.shape for stage in describe(unsplit_mnist())]
    assert shapes == [
        *((8, 24, 24), (8, 24, 24), (8, 12, 12), (16, 8, 8), (16, 8, 8), (16, 4, 4)),
        *((120,), (120,), (84,), (84,), (10,)),
    ]
    assert list(unsplit_mnist().cuts) == [str(index) for index in range(11)]


def test_unsplits_cifar_depths_are_the_published_layers_and_shapes():
    spec = unsplit_cifar()
    named = {stage.name: stage.shape for stage in describe(spec)}
    names = ["relu11", "conv12", "relu12", "pool1", "conv21", "relu21", "conv22", "relu22"]
    assert [spec.cuts[str(depth)] for depth in range(1, 9)] == names
    assert [named[name] for name in names] == [(64, 32, 32)] * 3 + [(64, 16, 16)] + [(128, 16, 16)] * 4
    assert list(spec.cuts) == [str(index) for index in range(18)]
    assert [spec.cuts[index] for index in ("4", "9", "14", "15", "16", "17")] == [
        *("pool1", "pool2", "pool3", "fc1", "sigmoid", "fc2")
    ]


def test_unsplits_nets_pool_after_relu_as_published():
    network = build(unsplit_mnist(), 1)
    x = torch.rand(3, 1, 28, 28)
    layers = dict(network.named_children())
    z = layers["conv1"](x)
    assert layers["pool1"](layers["relu1"](z)).equal(torch.nn.functional.max_pool2d(z.relu(), 2))
    assert stage_names(unsplit_mnist())[1] == "relu1"


@pytest.mark.parametrize(
    "spec,shape",
    [
        (lenet(), (6, 14, 14)),
        (lenet((3, 32, 32)), (6, 14, 14)),
        (alexnet_imagenet((1, 28, 28), units=8), (64, 7, 7)),
        (alexnet_imagenet((3, 32, 32), units=8), (64, 7, 7)),
        (alexnet_imagenet((3, 64, 64), units=8), (64, 7, 7)),
        (vgg16(units=8), (64, 16, 16)),
        (resnet18(), (64, 16, 16)),
        (resnet18((1, 28, 28), classes=10), (64, 7, 7)),
    ],
)
def test_thapas_networks_take_their_images_and_are_cut_after_the_pooling(spec, shape):
    """LeNet, AlexNet and VGG16 end the client in a max-pooling, ResNet in its third convolution."""
    portions = cut(build(spec, 42), spec, split=True, u_shaped=False)
    z = portions.head.eval()(torch.rand(2, *spec.input_shape))
    assert z.shape == (2, *shape)
    assert portions.body.eval()(z).shape == (2, spec.classes)


def test_lenet_on_cifar_has_its_known_size():
    assert size([build(lenet((3, 32, 32)), 42)]) == 62_006


@pytest.mark.parametrize(
    "spec,name",
    [
        (alexnet_imagenet((3, 64, 64), classes=10), "alexnet"),
        (alexnet_imagenet((3, 96, 80), classes=10), "alexnet"),
        (resnet18((3, 64, 64), classes=7), "resnet18"),
        pytest.param(vgg16(classes=10), "vgg16", marks=pytest.mark.slow),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_with_torchvisions_weights_the_networks_give_what_torchvisions_give(spec, name):
    from torchvision import models

    reference = models.get_model(name, num_classes=spec.classes).eval()
    ours = build(spec, 42).eval()
    reference_tensors = [t for t in reference.state_dict().values() if t.is_floating_point()]
    our_tensors = [t for t in ours.state_dict().values() if t.is_floating_point()]
    assert [t.shape for t in our_tensors] == [t.shape for t in reference_tensors]
    with torch.no_grad():
        for own, other in zip(our_tensors, reference_tensors, strict=True):
            own.copy_(torch.rand_like(other) * 0.05 if other.dim() == 1 else other)
        for other, own in zip(reference_tensors, our_tensors, strict=True):
            other.copy_(own)
        x = torch.rand(2, *spec.input_shape)
        torch.testing.assert_close(ours(x), reference(x), rtol=1e-4, atol=1e-5)


def test_torchvisions_thousand_class_sizes():
    """Thapa et al., Table 4: 60 million, 138 million, 11.7 million."""
    sizes = [
        sum(stage.parameters for stage in describe(spec))
        for spec in (alexnet_imagenet(classes=1000), resnet18(classes=1000))
    ]
    assert sizes == [61_100_840, 11_689_512]


@pytest.mark.parametrize(
    "make,sentence",
    [
        (lambda: lenet((1, 8, 8)), "LeNet takes images (channels, height, width) of at least 12×12 pixels"),
        (lambda: alexnet((3, 28, 28)), "AlexNet takes images (channels, height, width) of at least 29×29 pixels"),
        (lambda: vgg11((3, 28, 28)), "at least 32×32 pixels, but input_shape is (3, 28, 28)"),
        (lambda: vgg16((0, 32, 32)), "Vgg16 takes images"),
        (lambda: lenet(classes=1), "LeNet.classes must be at least 2, but it is 1"),
        (lambda: vgg16(dropout=1.5), "Vgg16.dropout must be at least 0 and at most 1"),
        (lambda: resnet18(form="her"), "ResNet18.form must be 'he' or 'splitfed'"),
        (lambda: lenet((28, 28)), "LeNet.input_shape must be a tuple"),
    ],
)
def test_what_a_network_cannot_take_is_one_sentence(make, sentence):
    with pytest.raises(ScenarioError) as caught:
        make()
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
