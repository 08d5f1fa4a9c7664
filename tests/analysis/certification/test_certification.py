"""Certificates of a model trained on real digits: their numbers by written-out formulas, and an attack that never breaks
them, but does break wrong ones."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from raysplit import rng
from raysplit.analysis.certification.certify import CertificationSetup, certify
from raysplit.analysis.certification.pgd import Pgd
from raysplit.analysis.runs.trained import Trained, trained_model
from raysplit.defenses.messages.noise import AdditiveNoise
from raysplit.errors import RunError
from raysplit.models.noise.layer import NoiseLayer, noise_layers_in
from raysplit.models.noise.pixel_dp import PixelDp
from raysplit.models.sequential import sequential
from raysplit.population.opening import open_population
from raysplit.population.partition.iid import Iid
from raysplit.population.partition.partitioned import partitioned
from raysplit.population.partition.subset import subset
from raysplit.population.sets.digits import digits
from raysplit.protocols.splitfed_v2 import SplitFedV2
from raysplit.training.optimizers import Sgd
from tests.toys import play, toy


def stages():
    return [
        ("conv", nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())),
        ("rest", nn.Sequential(nn.Flatten(), nn.Linear(512, 10))),
    ]


def trained_on_digits(**noise):
    options = {"after": "conv.0", "bound": 0.08, "draws": 4, **noise}
    model = PixelDp(sequential(stages, (1, 8, 8), 10, cut="conv"), 1.0, **options)
    scenario = toy(
        SplitFedV2(),
        model=model,
        clients=2,
        population=partitioned(subset(digits(), 600, 170), Iid(), clients=2),
        training__rounds=6,
        training__lr=0.02,
        training__batch_size=30,
        training__optimizer=Sgd(momentum=0.9),
        evaluation__every=6,
    )
    return Trained(Path("no-folder"), scenario, play(scenario).state)


@pytest.fixture(scope="module")
def gaussian():
    return trained_on_digits()


@pytest.fixture(scope="module")
def laplace():
    return trained_on_digits(mechanism="laplace", norm=1, after=None, bound=0.2)


QUICK = Pgd(steps=10, draws=8)


@pytest.mark.parametrize("scored_by", ["votes", "softmax"])
def test_no_attack_within_the_certified_radius_changes_a_prediction(gaussian, scored_by):
    found = certify(gaussian, CertificationSetup(40, 400, 0.95, scored_by, attack=QUICK))
    assert found.accuracy > 0.75 and found.attacked >= 20
    assert found.flipped == 0


def test_no_attack_of_norm_one_changes_a_prediction_that_laplace_noise_certifies(laplace):
    found = certify(laplace, CertificationSetup(30, 400, attack=QUICK))
    assert found.attacked >= 15 and found.flipped == 0
    assert all(sample.smoothing_radius is None for sample in found.samples)


def test_a_sensitivity_a_tenth_of_the_true_one_is_caught_by_the_attack(gaussian, monkeypatch):
    """The noise is then a tenth of what the radii are computed for."""
    kept = NoiseLayer.forward

    def too_quiet(layer, x):
        return x + (kept(layer, x) - x) / 10

    monkeypatch.setattr(NoiseLayer, "forward", too_quiet)
    found = certify(gaussian, CertificationSetup(25, 200, attack=QUICK))
    assert found.flipped >= 3


def test_radii_and_bounds_are_those_of_written_out_formulas(gaussian):
    """σ, p₁ and p₂ by hand for every tenth sample: own draws, scipy's beta and normal laws, a search over ε."""
    setup = CertificationSetup(30, 400)
    found = certify(gaussian, setup)
    network = trained_model(gaussian, None).network
    with torch.no_grad():
        kernel = torch.fft.fft2(network.conv.get_submodule("0").weight.double(), s=(16, 16)).permute(2, 3, 0, 1)
        delta = float(torch.linalg.svdvals(kernel).max())
    sigma = np.sqrt(2 * np.log(1.25 / 0.05)) * 0.08 / 1.0  # over Δ
    assert found.sensitivity >= delta * (1 - 1e-9) and found.sensitivity == pytest.approx(delta, rel=0.05)
    for number in range(0, 30, 10):
        sample = found.samples[number]
        x = open_population(gaussian.scenario.population).test(sample.client).x[sample.index].float() / 255
        votes = np.zeros(10, dtype=int)
        for block, count in enumerate((256, 144)):
            stream = rng.torch_stream(gaussian.scenario.seed, "pixeldp_certification", number, block)
            with torch.no_grad():
                made = network.conv.get_submodule("0")(x.expand(count, 1, 8, 8))
                made = made + sigma * found.sensitivity * torch.randn(made.shape, generator=stream)
                votes += np.bincount(network.rest(made.relu()).argmax(1), minlength=10)
        best = votes.argmax()
        low = stats.beta.ppf(0.05 / 20, votes[best], 400 - votes[best] + 1)
        high = max(stats.beta.ppf(1 - 0.05 / 20, v + 1, 400 - v) for k, v in enumerate(votes) if k != best)
        assert (sample.predicted, sample.low) == (best, pytest.approx(low, abs=1e-6))
        assert sample.high == pytest.approx(min(high, 1 - low), abs=1e-6)
        if sample.low > sample.high:
            radius = sigma * (stats.norm.ppf(sample.low) - stats.norm.ppf(sample.high)) / 2
            assert sample.smoothing_radius == pytest.approx(radius, rel=1e-6)
            assert 0 <= sample.pixeldp_radius <= sample.smoothing_radius


def test_certified_accuracy_counts_right_and_certified_samples_and_falls_with_the_radius(gaussian):
    found = certify(gaussian, CertificationSetup(40, 300))
    for smoothing in (False, True):
        values = [found.certified_accuracy(radius, smoothing) for radius in (0.0, 0.05, 0.1, 0.5, 10.0)]
        assert values == sorted(values, reverse=True) and values[-1] == 0 and values[0] <= found.accuracy
    counted = sum(s.correct and s.pixeldp_radius >= 0.02 for s in found.samples) / 40
    assert found.certified_accuracy(0.02) == counted > 0
    wrong = dataclasses.replace(found.samples[0], label=(found.samples[0].predicted + 1) % 10)
    assert dataclasses.replace(found, samples=(wrong,)).certified_accuracy(0.0) == 0


def test_the_same_setup_finds_the_same_again(gaussian):
    setup = CertificationSetup(5, 50, attack=Pgd(2, 2))
    assert certify(gaussian, setup).samples == certify(gaussian, setup).samples


def test_a_radius_of_another_norm_is_that_of_a_ball_within(gaussian):
    two, largest = (certify(gaussian, CertificationSetup(8, 200, norm=norm)) for norm in (None, float("inf")))
    for one, other in zip(two.samples, largest.samples, strict=True):
        assert other.pixeldp_radius == pytest.approx(one.pixeldp_radius / 8)  # √64


def test_what_guarantees_nothing_is_not_certified(gaussian):
    setup = CertificationSetup(2, 10)
    scenario = gaussian.scenario
    plain = scenario.replace(model=scenario.model.model)
    measured = scenario.replace(**{"model.sensitivity": "measured"})
    defended = scenario.replace(message_defenses=(AdditiveNoise(0.1),))
    for other, sentence in ((plain, "without noise"), (measured, "an estimate"), (defended, "no certificate covers")):
        with pytest.raises(RunError, match=sentence):
            certify(dataclasses.replace(gaussian, scenario=other), setup)


def test_the_model_of_a_run_predicts_by_the_mean_over_its_draws(gaussian):
    model = trained_model(gaussian, None)
    x = open_population(gaussian.scenario.population).test(0).x[:4]
    with torch.no_grad():
        assert model(x).exp().sum(1).allclose(torch.ones(4)) and model(x).equal(model(x))
    assert noise_layers_in([model])[0].draws == 4
