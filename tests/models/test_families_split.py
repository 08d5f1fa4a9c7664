"""Reference 6.1, invariant 1, for every family of models: SplitFedV1 is FedAvg on the unsplit model, to the last
bit."""

from functools import cache

import pytest
from torch import nn

from raysplit.models.alexnet import alexnet, alexnet_imagenet
from raysplit.models.lenet import lenet
from raysplit.models.resnet import resnet18
from raysplit.models.sequential import sequential
from raysplit.models.torchvision_model import torchvision_model
from raysplit.models.unsplit import unsplit_cifar, unsplit_mnist
from raysplit.models.vgg import vgg11, vgg16
from raysplit.protocols.fedavg import FedAvg
from raysplit.protocols.splitfed_v1 import SplitFedV1
from tests.toys import ToyClients, distance, play, toy


def chain(width):
    return [
        ("conv", nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.3))),
        ("flat", nn.Flatten()),
        ("fc1", nn.Linear(width * 36, 9)),
        ("act", nn.Sequential(nn.LayerNorm(9), nn.GELU(), nn.Dropout(0.3))),
        ("fc2", nn.Linear(9, 5)),
    ]


FAMILIES = {
    "lenet": (lambda cut: lenet((1, 12, 12), 5, cut), ["layer2", "conv2", "fc1", "fc2"]),
    "alexnet": (lambda cut: alexnet((1, 29, 29), 5, cut), ["V1", "V3"]),
    "alexnet_imagenet": (lambda cut: alexnet_imagenet((1, 28, 28), 5, 8, cut=cut), ["layer2", "fc1", "fc2"]),
    "vgg11": (lambda cut: vgg11((1, 32, 32), 5, cut), ["V2"]),
    "vgg16": (lambda cut: vgg16((1, 32, 32), 5, 8, cut=cut), ["layer4", "fc1"]),
    "resnet18": (lambda cut: resnet18((1, 16, 16), 5, cut=cut), ["layer3", "block6"]),
    "unsplit_mnist": (lambda cut: unsplit_mnist(cut), ["1", "6", "9"]),
    "unsplit_cifar": (lambda cut: unsplit_cifar(cut), ["4"]),
    "sequential": (lambda cut: sequential(chain, (1, 8, 8), 5, cut, width=4), ["conv", "flat", "act"]),
    "torchvision": (
        lambda cut: torchvision_model("mobilenet_v3_small", cut=cut, input_shape=(3, 32, 32), classes=5),
        ["features.3", "avgpool", "classifier.0"],
    ),
}


def scenario(family, protocol, cut):
    model = FAMILIES[family][0](cut)
    clients = ToyClients(2, model.input_shape, model.classes, smallest=4)
    return toy(protocol, clients=2, population=clients, model=model, training__rounds=1, training__lr=0.01)


@cache
def whole(family):
    return play(scenario(family, FedAvg(), FAMILIES[family][1][0]))


@pytest.mark.parametrize(
    "family,cut",
    [
        pytest.param(family, cut, id=f"{family}-{cut}", marks=pytest.mark.slow if family == "vgg16" else ())
        for family, (_, cuts) in FAMILIES.items()
        for cut in cuts
    ],
)
def test_sflv1_of_every_family_is_fedavg(family, cut):
    split = play(scenario(family, SplitFedV1(), cut))
    assert distance(split.named, whole(family).named) == 0
    assert split.digest == whole(family).digest
