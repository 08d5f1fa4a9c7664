"""Facts of stages, held against torch's own counter and the modules themselves."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from raysplit.errors import ScenarioError
from raysplit.models.alexnet import alexnet, alexnet_imagenet
from raysplit.models.describe import describe
from raysplit.models.femnist_cnn import femnist_cnn
from raysplit.models.gin import gin
from raysplit.models.lenet import lenet
from raysplit.models.network import build
from raysplit.models.resnet import resnet18
from raysplit.models.sequential import sequential
from raysplit.models.unsplit import unsplit_cifar, unsplit_mnist
from raysplit.models.vgg import vgg11, vgg16
from tests.toys import ToyCnn


def odd():
    """Layers that no model of RaySplit has: transposed, grouped and 1-d convolutions, recurrence, a matrix product in a
    forward."""

    class Product(nn.Module):
        def forward(self, x):
            return torch.bmm(x.flatten(2), x.flatten(2).transpose(1, 2))

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(6, 5, batch_first=True)

        def forward(self, x):
            return self.gru(x)[0]

    return [
        ("up", nn.ConvTranspose2d(2, 4, 3, stride=2, groups=2)),
        ("grouped", nn.Conv2d(4, 6, 3, groups=2)),
        ("product", Product()),
        ("line", nn.Conv1d(6, 4, 3, padding=1)),
        ("recurrent", Recurrent()),
        ("classes", nn.Sequential(nn.Flatten(), nn.Linear(20, 3))),
    ]


MODELS = [
    femnist_cnn(),
    lenet(),
    lenet((3, 32, 32)),
    alexnet(),
    alexnet_imagenet((1, 28, 28), units=16),
    vgg11(),
    vgg16(units=16),
    resnet18(),
    resnet18(form="splitfed"),
    unsplit_mnist(),
    unsplit_cifar(),
    gin(28, 7, 2),
    gin(30, 0, 3, layers=3),
    sequential(odd, (2, 7, 9), 3),
]


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: type(spec).__name__)
def test_flops_shapes_and_sizes_are_those_of_torch(spec):
    from torch.utils.flop_counter import FlopCounterMode

    facts = describe(spec)
    network = build(spec, 1).eval()
    x = torch.ones(1, *spec.input_shape)
    for stage, (name, module) in zip(facts, network.named_children(), strict=True):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            x = module(x)
        assert stage.name == name
        assert stage.flops == counter.get_total_flops()
        assert stage.shape == tuple(x.shape[1:])
        assert stage.smashed == x[0].numel()
        assert stage.parameters == sum(p.numel() for p in module.parameters())
        assert stage.buffers == sum(b.numel() for b in module.buffers() if b.is_floating_point())


def test_the_femnist_networks_flops_by_hand():
    first, second = 2 * 28 * 28 * 16 * 25, 2 * 14 * 14 * 32 * 16 * 25
    assert [stage.flops for stage in describe(femnist_cnn())] == [first, second, 2 * 1568 * 512, 2 * 512 * 62]


def test_describing_draws_nothing():
    before = torch.random.get_rng_state()
    describe(ToyCnn())
    assert torch.random.get_rng_state().equal(before)


def test_describing_does_not_import_torchs_compiler():
    code = (
        "import sys; from raysplit.models.describe import describe; from raysplit.models.resnet import resnet18; "
        "describe(resnet18((1, 32, 32))); print('torch._dynamo' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def mismatched():
    return [("a", nn.Sequential(nn.Flatten(), nn.Linear(64, 7))), ("b", nn.Linear(8, 5))]


def two_tensors():
    class Two(nn.Module):
        def forward(self, x):
            return x, x

    return [("a", Two()), ("b", nn.Linear(8, 5))]


@pytest.mark.parametrize(
    "make,sentence",
    [
        (mismatched, "Sequential's stage 'b' cannot take samples of shape (7,)"),
        (two_tensors, "Sequential's stage 'a' gives a tuple; a stage passes one tensor"),
    ],
)
def test_stages_that_do_not_fit_are_named(make, sentence):
    with pytest.raises(ScenarioError) as caught:
        describe(sequential(make, (1, 8, 8), 5))
    assert sentence in str(caught.value)
