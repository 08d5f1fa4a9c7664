"""The graph isomorphism network (Xu et al. 2019), dense, on packed graphs.

A graph is a sample of bytes [1, N, ⌈N/8⌉ + 1], N the largest number of nodes in the data set: row i has the adjacency
bits of node i, the most significant first (``numpy.packbits``), and in its last column 0 where there is no such node,
else 1 + the node's label. Scenarios that train on graphs say ``pixels="bytes"``.

Stages pass one tensor [B, n + 1, F + ⌈n/8⌉], n the largest graph of the batch:

- rows 0 to n − 1: the F features of a node, then its adjacency as bytes, with its own bit set to say that the node
  exists;
- row n: the graph's class scores so far, because the readout sums over all layers; the rest is 0.

So what crosses the wire at a cut is features, **the structure of every graph** and partial scores. Structure has no
gradient: those columns of the cut gradient are zero, as is what fills up. An attack or a defence on smashed data that
adds noise to the structure destroys it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import nn

from raysplit.errors import ScenarioError
from raysplit.models.network import ModelSpec
from raysplit.parts.part import part, within

GRAPHS_AT_ONCE = 64
"""Adjacency matrices that are unpacked together: n² numbers each."""


@part
class Gin(ModelSpec):
    """GIN-0: ``layers`` counts the input as Xu et al. do, so 5 are four rounds of summing neighbours, each with an MLP
    of two layers.

    BatchNorm within and after every MLP, over the nodes that exist; the readout sums the nodes of every layer, the
    input's too, each sum through a linear layer with dropout. ``labels``: node labels in the data; 0: it has none, and
    the features are degrees, one-hot, capped at ``degree_cap``. ``padded`` keeps all tensors at the data set's N, which
    protocols need that put clients' smashed data together; without it they are as large as the largest graph of their
    batch. Widths and dropout are those of the authors' experiments. Cuts ``"layer1"`` … = after that many layers.
    """

    nodes: int
    labels: int
    classes: int
    layers: int = 5
    hidden: int = 64
    dropout: float = 0.5
    degree_cap: int = 64
    padded: bool = False
    cut: str | None = "layer2"
    tail: str | None = None

    reads_bytes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        within("Gin.nodes", self.nodes, 1)
        within("Gin.labels", self.labels, 0, 255)
        within("Gin.classes", self.classes, 2)
        within("Gin.layers", self.layers, 2)
        within("Gin.hidden", self.hidden, 1)
        within("Gin.dropout", self.dropout, 0, 1)
        within("Gin.degree_cap", self.degree_cap, 1)

    @property
    def cuts(self) -> Mapping[str, str]:
        return {"layer1": "graph", **{f"layer{index + 1}": f"gin{index}" for index in range(1, self.layers)}}

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return (1, self.nodes, -(-self.nodes // 8) + 1)

    @property
    def smashed_varies(self) -> bool:
        """Whether smashed data of two batches can differ in more than the number of samples."""
        return not self.padded

    def stages(self) -> list[tuple[str, nn.Module]]:
        features = self.labels or self.degree_cap + 1
        stages: list[tuple[str, nn.Module]] = [
            ("graph", GraphInput(self.labels, self.degree_cap, self.classes, self.dropout, self.padded))
        ]
        for index in range(1, self.layers):
            before = features if index == 1 else self.hidden
            last = index == self.layers - 1
            stages.append((f"gin{index}", GinLayer(before, self.hidden, self.classes, self.dropout, last)))
        return stages


class Readout(nn.Module):
    """One layer's share of the class scores: sum over nodes, linear, dropout; [B, n, F] → [B, classes]."""

    def __init__(self, features: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(features, classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.dropout(self.linear(h.sum(1)))
        return scores


class GraphInput(nn.Module):
    """Bytes [B, 1, N, ⌈N/8⌉ + 1] → the tensor that stages pass, with one-hot node features and the input's own
    scores."""

    def __init__(self, labels: int, degree_cap: int, classes: int, dropout: float, padded: bool) -> None:
        super().__init__()
        self.labels, self.degree_cap, self.padded = labels, degree_cap, padded
        self.readout = Readout(labels or degree_cap + 1, classes, dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Raises ``ScenarioError`` for a node label that the model does not know."""
        x = x[:, 0]
        node = x[..., -1].long()
        n = (
            node.shape[1]
            if self.padded
            else int(
                ((node > 0).any(0).long() * torch.arange(1, node.shape[1] + 1, device=x.device)).max().clamp(min=1)
            )
        )
        node = node[:, :n]
        structure = x[:, :n, : -(-n // 8)].long()
        own, byte = torch.arange(n, device=x.device), torch.arange(n, device=x.device) // 8
        bit = 128 >> (own % 8)
        structure[:, own, byte] &= ~bit  # a loop in the data is the same as none: every node counts itself once
        if self.labels:
            kind, kinds = node - 1, self.labels
            if int(kind.max()) >= kinds:
                raise ScenarioError(
                    f"a node has the label {int(kind.max())}, but the model was told of {kinds} labels, 0 to "
                    f"{kinds - 1}; set Gin.labels"
                )
        else:
            kind, kinds = _bits(structure).sum((2, 3)).clamp(max=self.degree_cap), self.degree_cap + 1
        structure[:, own, byte] |= bit
        exists = (node > 0).unsqueeze(-1)
        h = (nn.functional.one_hot(kind.clamp(min=0), kinds) * exists).to(x.dtype)
        return _pack(h, (structure * exists).to(x.dtype), self.readout(h))


class GinLayer(nn.Module):
    """h ← ReLU(BN(MLP(Σ over a node and its neighbours of h))), and this layer's scores added; the last gives the
    scores, [B, classes]."""

    def __init__(self, before: int, hidden: int, classes: int, dropout: float, last: bool) -> None:
        super().__init__()
        self.before, self.classes, self.last = before, classes, last
        self.mlp = nn.Sequential(
            nn.Linear(before, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
        )
        self.readout = Readout(hidden, classes, dropout)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        n = z.shape[1] - 1
        structure = z[:, :n, self.before : self.before + -(-n // 8)].detach()
        summed, exists = _sum_neighbours(structure, z[:, :n, : self.before])
        moved = self.mlp(summed[exists])
        h = moved.new_zeros(*summed.shape[:2], moved.shape[1])
        h[exists] = moved
        scores = z[:, n, : self.classes] + self.readout(h)
        return scores if self.last else _pack(h, structure, scores)


def _sum_neighbours(structure: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(A + I) h [B, n, F], and which nodes exist, bool [B, n]."""
    n = h.shape[1]
    sums, exist = [], []
    for some, features in zip(torch.split(structure, GRAPHS_AT_ONCE), torch.split(h, GRAPHS_AT_ONCE), strict=True):
        adjacency = _bits(some.to(torch.uint8)).flatten(2)[..., :n]
        exist.append(adjacency.diagonal(dim1=1, dim2=2) > 0)
        sums.append(torch.bmm(adjacency.to(h.dtype), features))
    return torch.cat(sums), torch.cat(exist)


def _bits(structure: torch.Tensor) -> torch.Tensor:
    """Bytes [B, n, k] → their bits, the most significant first, [B, n, k, 8]."""
    places = torch.arange(7, -1, -1, dtype=structure.dtype, device=structure.device)
    return (structure.unsqueeze(-1) >> places) & 1


def _pack(h: torch.Tensor, structure: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Features, structure and scores in the one tensor that stages pass; wide enough for the scores, filled up with
    0."""
    used = h.shape[2] + structure.shape[2]
    width = max(used, scores.shape[1])
    nodes = nn.functional.pad(torch.cat([h, structure], 2), (0, width - used))
    graph = nn.functional.pad(scores, (0, width - scores.shape[1])).unsqueeze(1)
    return torch.cat([nodes, graph], 1)


def gin(
    nodes: int,
    labels: int,
    classes: int,
    cut: str | None = "layer2",
    tail: str | None = None,
    layers: int = 5,
    hidden: int = 64,
    dropout: float = 0.5,
    degree_cap: int = 64,
    padded: bool = False,
) -> Gin:
    """GIN for graphs of at most ``nodes`` nodes with ``labels`` node labels (0: degrees), cut after ``"layer1"`` … or
    any stage."""
    return Gin(nodes, labels, classes, layers, hidden, dropout, degree_cap, padded, cut, tail)
