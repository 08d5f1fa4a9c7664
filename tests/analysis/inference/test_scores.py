"""Scores against independent formulas."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from raysplit.analysis.scores.images import identified, mse, psnr, ssim, stretched
from raysplit.analysis.scores.labels import label_accuracy, permuted_accuracy


def ssim_by_scipy(a: np.ndarray, b: np.ndarray, span: float) -> float:
    """Wang et al. 2004 of one channel, by scipy's filters, over the places where the window fits."""
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / np.outer(line, line).sum()

    def local(x: np.ndarray) -> np.ndarray:
        return ndimage.correlate(x, window)[5:-5, 5:-5]

    ma, mb = local(a), local(b)
    va, vb, cov = local(a * a) - ma**2, local(b * b) - mb**2, local(a * b) - ma * mb
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    return float((((2 * ma * mb + c1) * (2 * cov + c2)) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean())


@pytest.mark.parametrize("span", [1.0, 255.0])
def test_ssim_is_wangs_formula(span):
    generator = np.random.default_rng(0)
    truth = generator.random((3, 2, 20, 17)) * span
    found = np.clip(truth + generator.normal(0, 0.2 * span, truth.shape), 0, span)
    ours = ssim(torch.from_numpy(found), torch.from_numpy(truth), span)
    for index in range(3):
        by_scipy = np.mean([ssim_by_scipy(found[index, c], truth[index, c], span) for c in range(2)])
        assert float(ours[index]) == pytest.approx(by_scipy, abs=1e-10)


def test_an_exact_image_scores_best():
    x = torch.rand(2, 1, 16, 16)
    assert mse(x, x).tolist() == [0, 0] and psnr(x, x).isinf().all()
    assert ssim(x, x) == pytest.approx([1, 1]) and ssim(x[..., :6, :6], x[..., :6, :6]) == pytest.approx([1, 1])


def test_psnr_of_a_known_error():
    assert psnr(torch.full((1, 1, 4, 4), 0.1), torch.zeros(1, 1, 4, 4)).item() == pytest.approx(20, abs=1e-5)


def test_identification_counts_nearest_neighbours():
    truth, others = torch.eye(4).view(4, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    found = truth.clone()
    found[3] = truth[0]
    assert identified(found, truth, others).tolist() == [True, True, True, False]
    assert not identified(torch.zeros_like(truth), truth, others).any()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20))
def test_the_best_naming_is_the_best_of_all_permutations(pairs):
    found, truth = (torch.tensor(column) for column in zip(*pairs, strict=True))
    best = max(label_accuracy(torch.tensor(names)[found], truth) for names in itertools.permutations(range(4)))
    assert permuted_accuracy(found, truth, 4) == pytest.approx(best)


def test_a_right_image_in_the_dark_is_right_when_it_is_stretched():
    """As UnSplit with mean(x²) leaves them: a tenth of the contrast, so worse than a guess and nearest to nobody."""
    torch.manual_seed(3)
    truth, others = torch.rand(4, 1, 6, 6), torch.rand(20, 1, 6, 6) * 0.2
    truth.flatten(1)[:, 0], truth.flatten(1)[:, 1] = 0.0, 1.0  # each has the whole range
    dark = 0.1 * truth - 0.02
    assert mse(dark, truth).min() > 0.2 and not identified(dark, truth, others).any()
    assert torch.allclose(stretched(dark), truth, atol=1e-6) and identified(stretched(dark), truth, others).all()
    assert stretched(torch.full((2, 1, 3, 3), 0.3)).equal(torch.full((2, 1, 3, 3), 0.3)), "one value has no contrast"
