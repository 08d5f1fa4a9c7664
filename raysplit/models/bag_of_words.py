"""Bags of words: which tokens a text has and how often, without their order; LEAF's simplest models of Sent140."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import nn

from raysplit.errors import ScenarioError
from raysplit.models.network import ModelSpec
from raysplit.models.tokens import TokenSum
from raysplit.parts.part import part, within


@part
class BagOfWords(ModelSpec):
    """A linear layer on the counts of a text's words, unknown ones left out, of ``units`` with a ReLU, then the classes.

    ``units=0``: the classes at once, LEAF's logistic regression (which begins with standard normal weights there, here
    Glorot-uniform); a single stage, so it cannot be cut. LEAF counts all words of a tweet, this those of the sample,
    the first ``length``.
    """

    tokens: int
    length: int
    classes: int
    units: int = 100
    cut: str | None = "bag"
    tail: str | None = None

    reads_bytes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        within("BagOfWords.tokens", self.tokens, 2, 1 << 24)
        within("BagOfWords.length", self.length, 1)
        within("BagOfWords.classes", self.classes, 2)
        within("BagOfWords.units", self.units, 0)
        if not self.units and self.cut is not None:
            raise ScenarioError("BagOfWords(units=0) is one layer, which nothing can cut; use cut=None, or give units")

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (1, 1, self.length)

    @property
    def cuts(self) -> Mapping[str, str]:
        return {"layer1": "bag"} if self.units else {}

    def stages(self) -> list[tuple[str, nn.Module]]:
        if not self.units:
            return [("bag", TokenSum(self.tokens, self.classes))]
        bag = nn.Sequential(TokenSum(self.tokens, self.units), nn.ReLU())
        return [("bag", bag), ("fc", nn.Linear(self.units, self.classes))]


def bag_of_words(
    tokens: int = 10_001, length: int = 25, classes: int = 2, units: int = 100, cut: str | None = "bag"
) -> BagOfWords:
    """Words counted, whatever their order; ``units=0`` with ``cut=None`` is logistic regression."""
    return BagOfWords(tokens, length, classes, units, cut)
