"""RDP of the sampled Gaussian: against its integral, against Opacus and Google's dp-accounting, and Thapa et al.'s ε."""

from __future__ import annotations

import math

import numpy as np
import pytest

from raysplit.defenses.privacy.accountant import ORDERS, epsilon, rdp

TABLE = [
    (1.3, 0.01, 1000, 1.262807),
    (1.0, 0.02, 500, 3.145759),
    (1.1, 0.1, 50, 4.916454),
    (2.0, 0.35, 100, 10.277493),
]
"""σ, q, applications, and ε at δ 1e-5 as Opacus 1.6.0 and dp-accounting 0.6.0 gave it on orders 2 to 64"""
N = 12_000
"""Thapa et al.: MNIST's 60,000 images among five clients"""


@pytest.mark.parametrize(("multiplier", "rate"), [(1.3, 0.01), (0.7, 0.3), (2.0, 0.9), (1.0, 1.0)])
@pytest.mark.parametrize("order", [2, 3, 7, 16])
def test_rdp_is_the_renyi_divergence_by_quadrature(multiplier: float, rate: float, order: int) -> None:
    """1/(α−1) log ∫ p (p'/p)^α of p = N(0, σ²) and p' = (1−q) N(0, σ²) + q N(1, σ²), on a fine grid."""
    z = np.linspace(-30 * multiplier, 30 * multiplier + order, 400_001)
    log_p = -(z**2) / (2 * multiplier**2) - math.log(multiplier * math.sqrt(2 * math.pi))
    ratio = (2 * z - 1) / (2 * multiplier**2)  # log N(1, σ²)/N(0, σ²)
    mixed = np.logaddexp(math.log1p(-rate), math.log(rate) + ratio) if rate < 1 else ratio
    integral = float(np.trapezoid(np.exp(log_p + order * mixed), z))
    assert rdp(rate, multiplier, order) == pytest.approx(math.log(integral) / (order - 1), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("multiplier", "rate", "applications", "expected"), TABLE)
def test_epsilon_is_what_two_libraries_gave(multiplier: float, rate: float, applications: int, expected: float) -> None:
    found = epsilon(rate, multiplier, applications, 1e-5, tuple(range(2, 65)))
    assert found.epsilon == pytest.approx(expected, abs=5e-7)


CASES = [(z, q, t) for z, q, t, _ in TABLE] + [(1.3, 1 / N, 250 * N), (5.0, 1.0, 250), (35.5, 1024 / N, 2930)]


@pytest.mark.parametrize(("multiplier", "rate", "applications"), CASES)
def test_epsilon_is_opacus_s(multiplier: float, rate: float, applications: int) -> None:
    analysis = pytest.importorskip("opacus.accountants.analysis.rdp", reason="Opacus is not installed")
    orders = list(ORDERS)
    total = analysis.compute_rdp(q=rate, noise_multiplier=multiplier, steps=applications, orders=orders)
    by_opacus, order = analysis.get_privacy_spent(orders=orders, rdp=total, delta=1e-5)
    found = epsilon(rate, multiplier, applications, 1e-5)
    assert found.epsilon == pytest.approx(by_opacus, abs=1e-9)
    assert found.order == order


@pytest.mark.parametrize(("multiplier", "rate", "applications"), CASES)
def test_epsilon_is_dp_accounting_s(multiplier: float, rate: float, applications: int) -> None:
    dp = pytest.importorskip("dp_accounting", reason="dp-accounting is not installed")
    accountant = dp.rdp.RdpAccountant(orders=list(ORDERS))
    accountant.compose(dp.PoissonSampledDpEvent(rate, dp.GaussianDpEvent(multiplier)), applications)
    assert epsilon(rate, multiplier, applications, 1e-5).epsilon == pytest.approx(
        accountant.get_epsilon(1e-5), abs=1e-9
    )


@pytest.mark.parametrize(("multiplier", "rate", "applications"), CASES[:1])
def test_rdp_bounds_tighter_accountants_from_above(multiplier: float, rate: float, applications: int) -> None:
    """PLD ≤ PRV ≤ PLD + .02 ≤ RDP: what is given away by RDP is a tenth or so."""
    dp = pytest.importorskip("dp_accounting", reason="dp-accounting is not installed")
    opacus = pytest.importorskip("opacus.accountants", reason="Opacus is not installed")
    pld = pytest.importorskip("dp_accounting.pld").PLDAccountant()
    pld.compose(dp.PoissonSampledDpEvent(rate, dp.GaussianDpEvent(multiplier)), applications)
    prv = opacus.PRVAccountant()
    prv.history = [(multiplier, rate, applications)]
    tight = pld.get_epsilon(1e-5)
    assert tight <= prv.get_epsilon(1e-5) <= tight + 0.02 <= epsilon(rate, multiplier, applications, 1e-5).epsilon


def test_thapa_s_epsilon_is_that_of_lots_of_one_sample() -> None:
    """σ = 1.3, δ = 1e-5, 50 rounds of 5 local epochs over 12,000 samples: ε = .5 where a lot is one sample, and a bound
    on eq. (3)'s noise for every sample at any batch size; Abadi's, once a batch of 1024, spends 27.3."""
    epochs = 250
    assert epsilon(1 / N, 1.3, epochs * N, 1e-5).epsilon == pytest.approx(0.4986, abs=5e-5)
    for batch, abadi in ((32, 3.35), (64, 4.99), (256, 11.4), (1024, 27.3)):
        steps = round(epochs * N / batch)
        assert epsilon(batch / N, 1.3, steps, 1e-5).epsilon == pytest.approx(abadi, rel=3e-3)
        assert epsilon(batch / N, 1.3 * batch**0.5, steps, 1e-5).epsilon == pytest.approx(0.4215, abs=2e-3)
    assert epsilon(1024 / N, 35.45, 2930, 1e-5).epsilon > 0.5 > epsilon(1024 / N, 35.5, 2930, 1e-5).epsilon


def test_nothing_is_spent_before_the_first_step_and_everything_without_noise() -> None:
    assert epsilon(0.1, 1.0, 0, 1e-5).epsilon == 0
    assert epsilon(0.1, 0.0, 1, 1e-5).epsilon == math.inf
