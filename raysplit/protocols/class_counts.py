"""Right and wrong answers by class: what one accuracy over all samples hides where classes are of unequal size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClassCounts:
    """The margins and the diagonal of a confusion matrix, int64 [classes] each.

    ``samples``: how many are of the class; ``correct``: those of them that were classified so; ``predicted``: how many
    samples, whatever their class, were classified so.
    """

    samples: np.ndarray
    correct: np.ndarray
    predicted: np.ndarray

    @staticmethod
    def of(labels: np.ndarray, predictions: np.ndarray, classes: int) -> ClassCounts:
        """``labels``, ``predictions``: classes from 0 on, one a sample, [n]. A prediction that is no class of the
        population (a network may have more outputs) is a wrong answer and counts for no class."""
        found = labels[labels == predictions]
        return ClassCounts(*(np.bincount(kind, minlength=classes)[:classes] for kind in (labels, found, predictions)))

    def plus(self, other: ClassCounts) -> ClassCounts:
        return ClassCounts(self.samples + other.samples, self.correct + other.correct, self.predicted + other.predicted)

    @property
    def accuracy(self) -> list[float | None]:
        """Share of each class's samples that were classified rightly, its recall; None where it has no sample."""
        pairs = zip(self.correct.tolist(), self.samples.tolist(), strict=True)
        return [correct / samples if samples else None for correct, samples in pairs]

    @property
    def balanced_accuracy(self) -> float | None:
        """Mean of ``accuracy`` over the classes that have a sample, as scikit-learn's ``balanced_accuracy_score``; None
        where no class has one."""
        there = self.samples > 0
        return float((self.correct[there] / self.samples[there]).mean()) if there.any() else None

    @property
    def macro_f1(self) -> float | None:
        """Mean of F1 = 2·correct / (samples + predicted) over the classes that have a sample or were predicted, as
        scikit-learn's ``f1_score(average="macro")``; None where there is no sample."""
        total = self.samples + self.predicted
        return float((2 * self.correct[total > 0] / total[total > 0]).mean()) if self.samples.any() else None
