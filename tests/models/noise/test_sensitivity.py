"""Sensitivity: no pair of inputs is driven further apart than the bound says."""

import math

import pytest
import torch
from torch import nn

from raysplit.models.network import build
from raysplit.models.noise.layer import noise_layers_in
from raysplit.models.noise.pixel_dp import PixelDp
from raysplit.models.noise.sensitivity import BoundedSensitivity
from raysplit.models.sequential import sequential
from tests.toys import ToyCnn

SHAPE = (1, 10, 10)


def pooled():
    """Overlapping windows of both kinds, a strided convolution, activations that bend."""
    return [
        *(nn.Conv2d(1, 3, 5, stride=2, padding=2), nn.LeakyReLU(0.3), nn.MaxPool2d(3, 1)),
        *(nn.Conv2d(3, 2, 2), nn.Tanh(), nn.AvgPool2d(2, 1, 1), nn.Flatten(), nn.Linear(18, 6), nn.Sigmoid()),
    ]


def largest_gain(layers, p, q, tries=20):
    """The largest ratio that climbing its gradient finds, from several pairs of near inputs."""
    torch.manual_seed(5)
    network = nn.Sequential(*layers).double()
    x = torch.randn(tries, *SHAPE, dtype=torch.float64)
    step = torch.randn_like(x).requires_grad_()
    best = 0.0
    for _ in range(40):
        moved = torch.linalg.vector_norm((network(x + step) - network(x)).flatten(1), q, dim=1)
        ratio = moved / torch.linalg.vector_norm(step.flatten(1), p, dim=1)
        best = max(best, float(ratio.max().detach()))
        (uphill,) = torch.autograd.grad(ratio.sum(), step)
        with torch.no_grad():
            step += 0.3 * uphill / uphill.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return best


@pytest.mark.parametrize(("p", "q"), [(1, 1), (1, 2), (2, 2), (2, 1)])
def test_no_pair_that_a_search_finds_is_driven_apart_more_than_the_bound(p, q):
    torch.manual_seed(2)
    layers = pooled()
    bound = BoundedSensitivity(tuple(layers), SHAPE, p, q).now()
    found = largest_gain(layers, p, q)
    assert 0 < found <= bound


@pytest.mark.parametrize("q", [1, 2])
def test_overlapping_maxima_reach_their_bound_where_one_number_stands_out(q):
    layer, x = nn.MaxPool2d(3, 1), torch.zeros(1, 1, 10, 10)
    x[..., 5, 5] = 2
    assert float(layer(x).norm(p=q)) / 2 == pytest.approx(BoundedSensitivity((layer,), SHAPE, q, q).now())


def test_of_one_linear_layer_the_bound_is_reached():
    layer = nn.Linear(6, 4).double()
    _, s, v = torch.linalg.svd(layer.weight.detach())
    bound = BoundedSensitivity((layer,), (6,), 2, 2).now()
    assert (
        float((v[0] @ layer.weight.detach().T).norm())
        == pytest.approx(bound, rel=1e-8)
        == pytest.approx(float(s[0]), rel=1e-8)
    )


@pytest.mark.parametrize(("p", "q", "sensitivity"), [(1, 1, 1.0), (2, 2, 1.0), (1, 2, 1.0), (2, 1, 8.0)])
def test_noise_on_the_input_has_sensitivity_one_or_root_n_from_two_to_one(p, q, sensitivity):
    mechanism = "gaussian" if q == 2 else "laplace"
    layer = noise_layers_in([build(PixelDp(ToyCnn(), 1.0, None, norm=p, mechanism=mechanism), 42)])[0]
    assert layer.sensitivity.of(torch.zeros(0)) == sensitivity


def test_the_bound_follows_the_weights():
    network = build(PixelDp(ToyCnn(), 1.0, "conv2"), 42)
    [noise] = noise_layers_in([network])
    before = noise.sensitivity.of(torch.zeros(0))
    with torch.no_grad():
        network.conv2[0].weight.mul_(3)
    assert noise.sensitivity.of(torch.zeros(0)) == pytest.approx(3 * before)


@pytest.mark.parametrize("norm", [1, 2])
def test_measured_is_the_largest_ratio_of_pairs_with_zeros_and_ones_among_them(norm):
    model = PixelDp(ToyCnn(), 1.0, "conv1.0", mechanism="laplace", sensitivity="measured", norm=norm, bound=1.0,
                    form="thapa2022")  # fmt: skip
    network = build(model, 42).eval()
    [noise] = noise_layers_in([network])
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    conv = network.conv1.get_submodule("0")
    with torch.no_grad():
        network(x)
        measured = noise.sensitivity.of(conv(x))
        inputs = [*x.double(), torch.zeros(1, 8, 8).double(), torch.ones(1, 8, 8).double()]
        outputs = [conv(one.float()[None]).double() for one in inputs]
    ratios = [
        float((outputs[i] - outputs[j]).flatten().norm(norm) / (inputs[i] - inputs[j]).flatten().norm(norm))
        for i in range(7)
        for j in range(i)
    ]
    assert measured == pytest.approx(max(ratios), rel=1e-6)
    assert measured <= BoundedSensitivity((conv,), (1, 8, 8), norm, norm).now()


def test_measured_takes_a_batch_of_one_and_equal_samples():
    network = build(PixelDp(ToyCnn(), 1.0, "conv1", sensitivity="measured"), 42).eval()
    for x in (torch.zeros(1, 1, 8, 8), torch.full((3, 1, 8, 8), 0.5), torch.zeros(0, 1, 8, 8)):
        assert torch.isfinite(network(x)).all()


def doubling():
    class Doubling(nn.Module):
        def forward(self, x):
            return 2 * x

    return [("a", nn.Sequential(nn.Conv2d(1, 2, 3), Doubling())), ("b", nn.Sequential(nn.Flatten(), nn.Linear(72, 5)))]


def test_an_own_layer_before_the_noise_has_no_bound_but_can_be_measured():
    model = sequential(doubling, (1, 8, 8), 5, cut="a")
    with pytest.raises(Exception, match="knows no bound of Sequential's Doubling"):
        PixelDp(model, 1.0, "a")
    assert not PixelDp(model, 1.0, "a", sensitivity="measured").guarantee
    assert PixelDp(model, 1.0, "a.0").guarantee


def test_sigma_and_b_are_as_written():
    gaussian = PixelDp(ToyCnn(), 0.5, None, bound=0.3, delta=0.05)
    assert gaussian.scale_per_sensitivity == pytest.approx(math.sqrt(2 * math.log(1.25 / 0.05)) * 0.3 / 0.5)
    assert PixelDp(ToyCnn(), 4.0, None, bound=0.3, mechanism="laplace").scale_per_sensitivity == 0.3 / 4.0
