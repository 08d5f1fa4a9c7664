"""Accuracy by class, balanced accuracy and macro-F1 against the confusion matrix and against scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from raysplit.protocols.class_counts import ClassCounts


def draws(seed: int, classes: int = 7, samples: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Labels without the last two classes, and predictions that are right half of the time and may be of the last class
    but never of the last but one."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes - 2, samples, p=np.array([0.6, 0.2, 0.1, 0.05, 0.05]))
    guesses = rng.choice([0, 1, 2, 3, 4, 6], samples)
    return labels, np.where(rng.random(samples) < 0.5, labels, guesses)


def confusion(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    matrix = np.zeros((classes, classes), dtype=int)
    for label, prediction in zip(labels, predictions, strict=True):
        matrix[label, prediction] += 1
    return matrix


@pytest.mark.parametrize("seed", range(5))
def test_they_are_the_margins_and_the_diagonal_of_the_confusion_matrix(seed: int) -> None:
    labels, predictions = draws(seed)
    matrix, counts = confusion(labels, predictions, 7), ClassCounts.of(labels, predictions, 7)
    assert np.array_equal(counts.samples, matrix.sum(1))
    assert np.array_equal(counts.predicted, matrix.sum(0))
    assert np.array_equal(counts.correct, matrix.diagonal())
    recall = [matrix[c, c] / matrix[c].sum() for c in range(5)]
    assert counts.accuracy == pytest.approx([*recall, None, None])
    assert counts.balanced_accuracy == pytest.approx(sum(recall) / 5)
    precision = [matrix[c, c] / max(matrix[:, c].sum(), 1) for c in range(5)]
    harmonic = [2 * p * r / (p + r) if p + r else 0 for p, r in zip(precision, recall, strict=True)]
    answered = 5 + (matrix[:, 6].sum() > 0)  # class 6 is answered but never there: its F1 is 0
    assert counts.macro_f1 == pytest.approx(sum(harmonic) / answered)


@pytest.mark.parametrize("seed", range(5))
def test_scikit_learn_means_the_same(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    labels, predictions = draws(seed)
    counts = ClassCounts.of(labels, predictions, 7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a predicted class is not there
        assert counts.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(labels, predictions))
        assert counts.macro_f1 == pytest.approx(metrics.f1_score(labels, predictions, average="macro"))
        recall = metrics.recall_score(labels, predictions, labels=range(5), average=None)
    assert counts.accuracy[:5] == pytest.approx(list(recall))


def test_always_answering_the_largest_class_is_seen_in_the_balanced_accuracy_alone() -> None:
    labels = np.array([0] * 98 + [1, 2])
    counts = ClassCounts.of(labels, np.zeros(100, dtype=int), 3)
    assert counts.correct.sum() / counts.samples.sum() == 0.98
    assert counts.accuracy == [1.0, 0.0, 0.0]
    assert counts.balanced_accuracy == pytest.approx(1 / 3)
    assert counts.macro_f1 == pytest.approx((2 * 98 / 198) / 3)


def test_parts_add_up_in_any_order() -> None:
    labels, predictions = draws(1)
    whole = ClassCounts.of(labels, predictions, 7)
    first, second = (ClassCounts.of(labels[half], predictions[half], 7) for half in (slice(90), slice(90, None)))
    for added in (first.plus(second), second.plus(first)):
        assert all(np.array_equal(getattr(added, name), getattr(whole, name)) for name in vars(whole))


def test_an_answer_that_is_no_class_is_wrong_and_nothing_at_all_has_no_mean() -> None:
    counts = ClassCounts.of(np.array([0, 1, 1]), np.array([0, 9, 1]), 2)
    assert counts.accuracy == [1.0, 0.5] and counts.predicted.tolist() == [1, 1]
    empty = ClassCounts.of(np.zeros(0, dtype=int), np.zeros(0, dtype=int), 3)
    assert empty.accuracy == [None] * 3 and empty.balanced_accuracy is None and empty.macro_f1 is None
