"""Intervals and radii against scipy, simulations and the exact privacy of Gaussian noise."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from raysplit.analysis.certification.confidence import clopper_pearson, hoeffding
from raysplit.analysis.certification.draws import NoisyNetwork
from raysplit.analysis.certification.pgd import Pgd, _projected
from raysplit.analysis.certification.radii import (
    LARGEST_DELTA,
    gaussian_radius,
    laplace_radius,
    radius_in,
    smoothing_radius,
)
from raysplit.models.noise.layer import NoiseLayer


@pytest.mark.parametrize("votes", [[0, 3, 97], [100, 0, 0], [34, 33, 33]])
def test_clopper_pearson_is_scipys_exact_interval_with_the_level_dealt_to_the_classes(votes):
    low, high = clopper_pearson(np.array(votes), 100, 0.95)
    for k, count in enumerate(votes):
        exact = stats.binomtest(count, 100).proportion_ci(1 - 0.05 / 3, "exact")
        assert (low[k], high[k]) == (pytest.approx(exact.low, abs=1e-12), pytest.approx(exact.high, abs=1e-12))


@pytest.mark.parametrize("bounds", ["votes", "softmax"])
def test_the_bounds_of_all_classes_hold_together_as_often_as_they_say(bounds):
    expected, draws = np.array([0.6, 0.3, 0.1]), 80
    drawn = np.random.default_rng(3).multinomial(draws, expected, size=2000)
    held = 0
    for votes in drawn:
        low, high = clopper_pearson(votes, draws, 0.9) if bounds == "votes" else hoeffding(votes / draws, draws, 0.9)
        held += bool((low <= expected).all() and (expected <= high).all())
    assert held / 2000 >= 0.9 - 3 * math.sqrt(0.09 / 2000)


def test_hoeffding_is_the_papers():
    low, high = hoeffding(np.array([0.5, 0.4, 0.0]), 300, 0.95)
    reach = math.sqrt(math.log(2 * 3 / 0.05) / 600)
    assert low == pytest.approx([0.5 - reach, 0.4 - reach, 0]) and high == pytest.approx(
        [0.5 + reach, 0.4 + reach, reach]
    )


@pytest.mark.parametrize(("low", "high"), [(0.9, 0.05), (0.6, 0.3), (0.999, 0.0005), (0.51, 0.49)])
def test_the_laplace_radius_is_where_the_papers_condition_ends(low, high):
    epsilon = laplace_radius(low, high, 0.3) / 0.3
    assert low == pytest.approx(math.exp(2 * epsilon) * high, rel=1e-6)


@pytest.mark.parametrize(("low", "high"), [(0.9, 0.05), (0.6, 0.3), (0.999, 0.0005), (0.99, 0.01)])
def test_at_the_gaussian_radius_the_papers_condition_holds_for_some_epsilon_and_nowhere_beyond(low, high):
    radius, sigma = gaussian_radius(low, high, 0.5), 0.5

    def certified(length):
        """Whether proposition 2 holds at this L for an ε of a fine grid, δ = 1.25 e^{−(εσ/L)²/2}."""
        epsilon = np.linspace(1e-4, 1, 20_000)
        delta = 1.25 * np.exp(-((epsilon * sigma / length) ** 2) / 2)
        holds = low > np.exp(2 * epsilon) * high + (1 + np.exp(epsilon)) * delta
        return bool((holds & (delta <= LARGEST_DELTA)).any())

    assert radius > 0
    assert certified(radius * 0.999) and not certified(radius * 1.01)


def test_the_gaussian_mechanism_is_as_private_as_the_radius_takes_it_to_be():
    """Against the exact δ of Balle and Wang 2018, theorem 8, over all ε in (0, 1] and δ up to the largest used."""
    epsilon = np.linspace(0.001, 1, 200)[:, None]
    delta = np.geomspace(1e-12, LARGEST_DELTA, 200)[None]
    sigma = np.sqrt(2 * np.log(1.25 / delta)) / epsilon
    exact = stats.norm.cdf(0.5 / sigma - epsilon * sigma) - np.exp(epsilon) * stats.norm.cdf(
        -0.5 / sigma - epsilon * sigma
    )
    assert (exact <= delta).all()


@pytest.mark.parametrize(("low", "high"), [(0.9, 0.05), (0.6, 0.3), (0.999, 0.0005), (0.55, 0.45)])
def test_smoothing_certifies_more_than_epsilon_and_delta(low, high):
    assert gaussian_radius(low, high, 0.5) < smoothing_radius(low, high, 0.5)


def test_nothing_is_certified_of_a_tie():
    for radius in (laplace_radius, gaussian_radius, smoothing_radius):
        assert radius(0.4, 0.4, 1.0) == radius(0.3, 0.5, 1.0) == 0
        assert math.isfinite(radius(1.0, 0.0, 1.0))


@pytest.mark.parametrize(("norm", "asked"), [(1, 2.0), (1, math.inf), (2, 1.0), (2, math.inf), (2, 2.0)])
def test_a_ball_of_the_asked_norm_lies_within_that_of_the_other(norm, asked):
    generator = np.random.default_rng(1)
    points = np.concatenate([generator.standard_normal((200, 9)), np.eye(9), np.ones((1, 9))])
    points /= np.linalg.norm(points, asked, axis=1, keepdims=True) / radius_in(0.7, norm, asked, 9)
    lengths = np.linalg.norm(points, norm, axis=1)
    assert lengths.max() == pytest.approx(0.7)


class One:
    def of(self, outputs):
        return 1.0


def test_of_a_linear_classifier_the_smoothing_radius_is_exact_and_the_attack_finds_its_edge():
    """Noise σ on the input of sign(w·x): Φ(w·x / σ‖w‖) is the score, and the distance to w·x = 0 the true radius."""
    w = torch.tensor([[1.0, -2.0, 0.5, 3.0]])
    layer = NoiseLayer("gaussian", 0.5, One(), 1)
    network = NoisyNetwork(lambda x: torch.cat([layer(x).flatten(1) @ w.T, -layer(x).flatten(1) @ w.T], 1), layer, 4)
    x = torch.tensor([1.0, 0.2, -0.3, 0.1]).view(1, 1, 2, 2)
    distance = float((w @ x.flatten()) / w.norm())
    score = stats.norm.cdf(distance / 0.5)
    assert smoothing_radius(score, 1 - score, 0.5) == pytest.approx(distance)
    for reach, flipped in ((0.8, False), (1.2, True)):
        changed = Pgd(30, 50).changed(network, x, 0, reach * distance, 2, 0)
        assert float((changed - x).norm()) <= reach * distance * (1 + 1e-5)
        assert (network.drawn(changed, 3000, "test", 0).votes.argmax() == 1) is np.bool_(flipped)


@pytest.mark.parametrize("norm", [1, 2])
def test_projection_gives_the_nearest_point_of_the_ball(norm):
    generator = torch.Generator().manual_seed(2)
    point = torch.randn(12, generator=generator, dtype=torch.float64)
    nearest = _projected(point, 0.8, norm)
    assert float(nearest.norm(p=norm)) == pytest.approx(0.8)
    others = torch.randn(4000, 12, generator=generator, dtype=torch.float64) * 0.05 + nearest
    others = others * (0.8 / others.norm(p=norm, dim=1, keepdim=True)).clamp(max=1)
    assert float((others - point).norm(dim=1).min()) >= float((nearest - point).norm()) - 1e-12
    assert _projected(nearest * 0.5, 0.8, norm).equal(nearest * 0.5)
