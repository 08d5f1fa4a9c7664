"""Random graphs, packed as populations pack them, and a GIN that knows nothing of packing."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from raysplit.parts.part import part
from raysplit.population.population import PopulationInfo, PopulationSpec, Samples


@dataclass(frozen=True)
class Graph:
    """``edges``: pairs of nodes, each once; ``labels``: one a node."""

    labels: list[int]
    edges: list[tuple[int, int]]

    def neighbours(self, node: int) -> list[int]:
        return [b for a, b in self.edges if a == node] + [a for a, b in self.edges if b == node]


def random_graph(rng: np.random.Generator, most: int, labels: int) -> Graph:
    n = int(rng.integers(2, most + 1))
    pairs = [(a, b) for a in range(n) for b in range(a) if rng.random() < 0.35]
    return Graph([int(label) for label in rng.integers(0, max(labels, 1), n)], pairs)


def pack(graph: Graph, nodes: int) -> np.ndarray:
    """uint8 [1, N, ⌈N/8⌉ + 1]."""
    adjacency = np.zeros((nodes, nodes), dtype=np.uint8)
    for a, b in graph.edges:
        adjacency[a, b] = adjacency[b, a] = 1
    last = np.zeros((nodes, 1), dtype=np.uint8)
    last[: len(graph.labels), 0] = np.array(graph.labels) + 1
    return np.concatenate([np.packbits(adjacency, axis=1), last], axis=1)[None]


def batch(graphs: list[Graph], nodes: int) -> torch.Tensor:
    """As a host gives it to the network with ``pixels="bytes"``."""
    return torch.from_numpy(np.stack([pack(graph, nodes) for graph in graphs])).float()


@part
class GraphClients(PopulationSpec):
    """Client k has ``5 + k`` random graphs, whose class is whether they have many edges."""

    clients: int = 4
    nodes: int = 11
    labels: int = 3

    def open(self) -> OpenGraphs:
        return OpenGraphs(self)


class OpenGraphs:
    def __init__(self, spec: GraphClients) -> None:
        self.spec = spec
        shape = (1, spec.nodes, -(-spec.nodes // 8) + 1)
        self.info = PopulationInfo("graphs", spec.clients, 2, shape, True, repr(spec))

    def train_sizes(self, clients: np.ndarray) -> np.ndarray:
        return 5 + np.asarray(clients, dtype=np.int64)

    def test_sizes(self, clients: np.ndarray) -> np.ndarray:
        return np.full(len(clients), 4, dtype=np.int64)

    def train(self, client: int) -> Samples:
        return self._samples(5 + client, client)

    def test(self, client: int) -> Samples:
        return self._samples(4, 1000 + client)

    def _samples(self, count: int, seed: int) -> Samples:
        rng = np.random.default_rng(seed)
        graphs = [random_graph(rng, self.spec.nodes, self.spec.labels) for _ in range(count)]
        x = torch.from_numpy(np.stack([pack(graph, self.spec.nodes) for graph in graphs]))
        return Samples(x, torch.tensor([int(len(g.edges) > len(g.labels)) for g in graphs]))


def plain_gin(network: nn.Sequential, graphs: list[Graph], labels: int, degree_cap: int) -> torch.Tensor:
    """Class scores [B, classes] by message passing node by node, with the network's weights; BatchNorm over all nodes
    of the batch."""
    weights = dict(network.named_parameters())
    count = len(list(network.children()))
    features = []
    for graph in graphs:
        for node, label in enumerate(graph.labels):
            kind = label if labels else min(len(graph.neighbours(node)), degree_cap)
            features.append([float(kind == k) for k in range(labels or degree_cap + 1)])
    h = torch.tensor(features, dtype=next(network.parameters()).dtype)
    starts = np.cumsum([0, *(len(graph.labels) for graph in graphs)])
    scores = readout(h, starts, weights, "graph")
    for index in range(1, count):
        summed = []
        for graph, start in zip(graphs, starts, strict=False):
            for node in range(len(graph.labels)):
                message = h[start + node].clone()
                for other in graph.neighbours(node):
                    message += h[start + other]
                summed.append(message)
        h = torch.stack(summed)
        for linear, norm in ((0, 1), (3, 4)):
            name = f"gin{index}.mlp"
            h = h @ weights[f"{name}.{linear}.weight"].T + weights[f"{name}.{linear}.bias"]
            h = (h - h.mean(0)) / (h.var(0, unbiased=False) + 1e-5).sqrt()
            h = (h * weights[f"{name}.{norm}.weight"] + weights[f"{name}.{norm}.bias"]).clamp(min=0)
        scores = scores + readout(h, starts, weights, f"gin{index}")
    return scores


def readout(h, starts, weights, stage):
    pooled = torch.stack([h[a:b].sum(0) for a, b in itertools.pairwise(starts)])
    return pooled @ weights[f"{stage}.readout.linear.weight"].T + weights[f"{stage}.readout.linear.bias"]
