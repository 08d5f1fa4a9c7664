"""Random texts of few tokens, and a stacked LSTM that knows nothing of torch's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from raysplit.models.stacked_lstm import StackedLstm, stacked_lstm
from raysplit.parts.part import part
from raysplit.population.population import PopulationInfo, PopulationSpec, Samples
from raysplit.protocols.protocol import TrainingProtocol
from raysplit.scenario.scenario import Scenario
from tests.toys import toy


@part
class TextClients(PopulationSpec):
    """Client k has ``5 + k`` texts of ``length`` of ``tokens`` tokens, whose class is the last token modulo ``classes``."""

    clients: int = 4
    tokens: int = 9
    length: int = 6
    classes: int = 3
    dtype: str = "uint8"

    def open(self) -> OpenTexts:
        return OpenTexts(self)


class OpenTexts:
    def __init__(self, spec: TextClients) -> None:
        self.spec = spec
        shape = (1, 1, spec.length)
        self.info = PopulationInfo("texts", spec.clients, spec.classes, shape, True, repr(spec), dtype=spec.dtype)

    def train_sizes(self, clients: np.ndarray) -> np.ndarray:
        return 5 + np.asarray(clients, dtype=np.int64)

    def test_sizes(self, clients: np.ndarray) -> np.ndarray:
        return np.full(len(clients), 3, dtype=np.int64)

    def train(self, client: int) -> Samples:
        return self._texts(client, 5 + client)

    def test(self, client: int) -> Samples:
        return self._texts(client + 1000, 3)

    def _texts(self, seed: int, count: int) -> Samples:
        x = np.random.default_rng(seed).integers(0, self.spec.tokens, (count, 1, 1, self.spec.length))
        y = torch.from_numpy(x[:, 0, 0, -1] % self.spec.classes)
        return Samples(torch.from_numpy(x.astype(self.spec.dtype)), y)


def lstm(cut: str | None = "layer2", tail: str | None = None, **options: int | float) -> StackedLstm:
    return stacked_lstm(9, 6, 3, **{"dim": 4, "hidden": 5, **options}, cut=cut, tail=tail)  # type: ignore[arg-type]


def texts(protocol: TrainingProtocol, cut: str = "layer2", tail: str | None = None, **changes: object) -> Scenario:
    """A toy scenario on texts; ``changes`` as in ``toy``."""
    images = toy(protocol, "V1", "fc1", clients=4, pixels="bytes", **changes)
    return images.replace(population=TextClients(), model=lstm(cut, tail))


def plain_lstm(weights: Mapping[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """Logits [B, classes] of int64 tokens [B, L], by Hochreiter and Schmidhuber's equations (with forget gates)."""
    h = weights["embedding.table.weight"][tokens]
    layer = 1
    while f"lstm{layer}.lstm.weight_ih_l0" in weights:
        w, u, bw, bu = (
            weights[f"lstm{layer}.lstm.{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        state, cell, outputs = h.new_zeros(len(h), u.shape[1]), h.new_zeros(len(h), u.shape[1]), []
        for x in h.unbind(1):
            i, f, g, o = (x @ w.T + bw + state @ u.T + bu).chunk(4, 1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            state = torch.sigmoid(o) * torch.tanh(cell)
            outputs.append(state)
        h = torch.stack(outputs, 1)
        layer += 1
    h = h[:, -1]
    for name in ("fc1", "fc2"):
        if f"{name}.weight" in weights:
            h = nn.functional.linear(h, weights[f"{name}.weight"], weights[f"{name}.bias"])
    return h
