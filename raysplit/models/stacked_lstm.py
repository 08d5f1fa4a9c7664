"""The stacked LSTM of LEAF's text sets (Caldas et al. 2018): the next character of a play, the mood of a tweet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from raysplit.errors import ScenarioError
from raysplit.models.network import ModelSpec
from raysplit.models.tokens import TokenEmbedding
from raysplit.models.word_vectors import read_vectors
from raysplit.parts.canonical import names_file
from raysplit.parts.part import part, within


@part
class StackedLstm(ModelSpec):
    """A table of ``tokens`` rows, ``layers`` LSTMs one on the other, and a linear layer on the last output of the last.

    ``length``: tokens of a text; ``units``: the width of a further linear layer before the classes (0: none), with no
    activation between the two, as in LEAF. ``dropout``: of every LSTM's outputs. ``embedding``: a file of word vectors
    (GloVe's text form) whose first ``tokens - 1`` words are tokens 1, 2, …, with which the table begins; token 0 begins
    with zeros. Cuts ``"layer1"`` … = after that many layers: the table, then each LSTM.

    It begins as LEAF's does in TensorFlow: Glorot-uniform weights (of an LSTM's two matrices as one), biases 0, and 1 at
    forget gates. torch's LSTM has two bias vectors where TensorFlow's has one, 4 · hidden numbers more a layer.
    """

    tokens: int
    length: int
    classes: int
    dim: int = 8
    hidden: int = 256
    layers: int = 2
    units: int = 0
    dropout: float = 0.0
    embedding: str | None = names_file(None)
    cut: str | None = "layer2"
    tail: str | None = None

    reads_bytes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        within("StackedLstm.tokens", self.tokens, 2, 1 << 24)
        within("StackedLstm.classes", self.classes, 2)
        for name in ("length", "dim", "hidden", "layers"):
            within(f"StackedLstm.{name}", getattr(self, name), 1)
        within("StackedLstm.units", self.units, 0)
        within("StackedLstm.dropout", self.dropout, 0, 1)
        if self.embedding is not None and not Path(self.embedding).expanduser().is_file():
            raise ScenarioError(f"StackedLstm.embedding: there is no file of word vectors {self.embedding!r}")

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (1, 1, self.length)

    @property
    def cuts(self) -> Mapping[str, str]:
        return {"layer1": "embedding", **{f"layer{n + 1}": f"lstm{n}" for n in range(1, self.layers + 1)}}

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Raises ``ScenarioError`` where the file of word vectors has other ones."""
        stages: list[tuple[str, nn.Module]] = [("embedding", TokenEmbedding(self.tokens, self.dim, self._rows()))]
        for number in range(1, self.layers + 1):
            inputs = self.dim if number == 1 else self.hidden
            stages.append((f"lstm{number}", LstmLayer(inputs, self.hidden, self.dropout, number == self.layers)))
        widths = [self.hidden, *([self.units] if self.units else []), self.classes]
        for number, (inputs, outputs) in enumerate(pairwise(widths), 1):
            linear = nn.Linear(inputs, outputs)
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
            stages.append((f"fc{number}", linear))
        return stages

    def _rows(self) -> torch.Tensor | None:
        if self.embedding is None or torch.get_default_device().type == "meta":  # only the stages' names are asked for
            return None
        vectors = read_vectors(Path(self.embedding).expanduser(), self.tokens - 1, self.dim)
        return torch.cat([vectors.new_zeros(1, self.dim), vectors])


class LstmLayer(nn.Module):
    """[B, L, inputs] → all outputs [B, L, hidden], or of the ``last`` layer the last one, [B, hidden]."""

    def __init__(self, inputs: int, hidden: int, dropout: float, last: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.last = last
        bound = math.sqrt(6 / (inputs + hidden + 4 * hidden))
        for name, parameter in self.lstm.named_parameters():
            if name.startswith("weight"):
                nn.init.uniform_(parameter, -bound, bound)
            else:
                nn.init.zeros_(parameter)
            if name == "bias_ih_l0":
                nn.init.ones_(parameter[hidden : 2 * hidden])  # gates lie in the order in, forget, cell, out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs, _ = self.lstm(x)
        # torch computes time step by time step, so these are views; a message is laid out sample by sample.
        kept: torch.Tensor = self.dropout((outputs[:, -1] if self.last else outputs).contiguous())
        return kept


def stacked_lstm(
    tokens: int,
    length: int,
    classes: int,
    dim: int = 8,
    hidden: int = 256,
    layers: int = 2,
    units: int = 0,
    dropout: float = 0.0,
    embedding: str | None = None,
    cut: str | None = "layer2",
    tail: str | None = None,
) -> StackedLstm:
    """LSTMs on texts of ``length`` out of ``tokens`` tokens, cut after ``"layer1"`` (the table), ``"layer2"``, … or any
    stage."""
    return StackedLstm(tokens, length, classes, dim, hidden, layers, units, dropout, embedding, cut, tail)


def shakespeare_lstm(cut: str | None = "layer2", tail: str | None = None, hidden: int = 256) -> StackedLstm:
    """LEAF's for Shakespeare: 80 characters in, the next of 80 out; 8 numbers a character, two LSTMs of 256."""
    return StackedLstm(80, 80, 80, hidden=hidden, cut=cut, tail=tail)


def sent140_lstm(
    tokens: int = 10_001,
    length: int = 25,
    cut: str | None = "layer2",
    tail: str | None = None,
    embedding: str | None = None,
    dim: int = 100,
    hidden: int = 100,
) -> StackedLstm:
    """LEAF's for Sent140: 25 words in, 100 numbers a word, two LSTMs of 100, a linear layer of 128, two classes out.

    ``tokens``: the words that the population was prepared with, and one for all others.
    """
    return StackedLstm(tokens, length, 2, dim, hidden, units=128, embedding=embedding, cut=cut, tail=tail)
