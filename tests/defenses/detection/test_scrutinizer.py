"""Gradients Scrutinizer: similarities and scores by hand, what its published copy gets wrong, and where 0/0 would be."""

import math

import numpy as np
import pytest
import torch

from raysplit.defenses.detection.scrutinizer import GradientsScrutinizer, scrutinized, similarities
from tests.defenses.detection.answers import answered


def by_hand(gradients, labels, diagonal):
    """Both lists of mapped cosines, pair by pair."""
    same, different = [], []
    for k in range(len(labels)):
        for m in range(len(labels)):
            if k == m and not diagonal:
                continue
            a, b = gradients[k].ravel().astype(np.float64), gradients[m].ravel().astype(np.float64)
            alike = 0.5 + 0.5 * (a @ b) / (np.linalg.norm(a) * np.linalg.norm(b))
            (same if labels[k] == labels[m] else different).append(alike)
    return np.mean(same), np.std(same), np.mean(different), np.std(different)


def curves(same, different, same_sd=0.0, different_sd=0.0, batches=51):
    ones = np.ones(batches)
    return {"same": same * ones, "same_sd": same_sd * ones, "different": different * ones} | {
        "different_sd": different_sd * ones
    }


@pytest.mark.parametrize("pairs", ["distinct", "all"])
def test_similarities_are_those_of_every_pair_taken_by_itself(pairs):
    rng = np.random.default_rng(3)
    gradients, labels = rng.standard_normal((9, 2, 3, 3)).astype("float32"), rng.integers(0, 3, 9)
    found = similarities(torch.from_numpy(gradients), torch.from_numpy(labels), pairs)
    expected = by_hand(gradients, labels, diagonal=pairs == "all")
    assert [float(found[name]) for name in ("same", "same_sd", "different", "different_sd")] == pytest.approx(expected)


def test_a_sample_is_no_pair_with_itself():
    """Four gradients at right angles know no labels, and the published copy still sees some."""
    gradients, labels = torch.eye(4), torch.tensor([0, 0, 1, 1])
    assert similarities(gradients, labels)["same"] == similarities(gradients, labels)["different"] == 0.5
    assert similarities(gradients, labels, "all")["same"] == 0.75


def test_a_gradient_of_zero_has_no_direction_and_a_batch_of_one_label_says_nothing():
    gradients = torch.tensor([[1.0, 0], [1, 0], [0, 0], [-1, 0]])
    found = similarities(gradients, torch.tensor([0, 0, 0, 1]))
    assert found["same"] == 1 and found["different"] == 0
    assert similarities(gradients, torch.tensor([0, 0, 0, 0])) is None
    assert similarities(torch.zeros(4, 2), torch.tensor([0, 0, 1, 1])) is None


def test_a_clear_gap_scores_one_and_equal_curves_next_to_nothing():
    assert scrutinized(curves(0.75, 0.25)) == pytest.approx(1 / (1 + math.exp(-6 * (0.5**0.2 * 3 - 0.7))))
    assert scrutinized(curves(0.75, 0.25)) > 0.9999
    assert scrutinized(curves(0.6, 0.6)) == pytest.approx(1 / (1 + math.exp(4.2))) == pytest.approx(0.0148, abs=1e-4)
    assert scrutinized(curves(0.0, 0.0)) == pytest.approx(1 / (1 + math.exp(4.2))), "0/0 is no gap"
    assert scrutinized(curves(0.3, 0.6)) < 0.7, "bands the wrong way round overlap wholly, as equal ones do"


def test_the_score_is_the_formula_written_out():
    rng = np.random.default_rng(5)
    same, different = 0.6 + 0.05 * rng.standard_normal(101), 0.5 + 0.05 * rng.standard_normal(101)
    same_sd, different_sd = 0.1 + 0.01 * rng.random(101), 0.1 + 0.01 * rng.random(101)
    at = np.arange(100.0)
    powers = np.stack([np.ones(100), at, at**2], 1)
    rmse = []
    for curve in (same[:100], different[:100]):
        fitted = powers @ np.linalg.solve(powers.T @ powers, powers.T @ curve)
        rmse.append(np.sqrt(((curve - fitted) ** 2).mean()))
    low, high = same[100] - same_sd[100], different[100] + different_sd[100]
    iou = (high - low) / ((same[100] + same_sd[100]) - (different[100] - different_sd[100]))
    gap = (same[100] - different[100]) / (same[100] + different[100])
    inner = gap / abs(gap) ** 0.8 * -np.log(9 * np.mean(rmse) + np.exp(-3)) * -np.log(iou + np.exp(-1)) - 0.7
    found = scrutinized({"same": same, "same_sd": same_sd, "different": different, "different_sd": different_sd})
    assert 0 < iou < 1 and found == pytest.approx(1 / (1 + np.exp(-6 * inner)), rel=1e-9)


def test_it_speaks_after_every_so_many_batches_and_not_of_fakes():
    detector, memory, spoke = GradientsScrutinizer(every=4), {}, []
    labels = torch.tensor([0, 0, 1, 1])
    for batch in range(1, 15):
        gradients = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
        verdict = detector.judge(answered(batch, labels, gradients, fake=batch == 3), memory)
        memory = verdict.memory
        if verdict.score is not None:
            spoke.append((batch, len(memory["same"])))
    assert spoke == [(6, 5), (10, 9), (14, 13)]
