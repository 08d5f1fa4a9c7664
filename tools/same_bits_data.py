"""The made-up data of ``same_bits.py``: populations of a user's own, which both trees open. Short, as its classes'
source goes into every hash."""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

# An editable install would lend a tree the modules that it lacks from another one.
sys.meta_path[:] = [finder for finder in sys.meta_path if "__editable__" not in str(getattr(finder, "__module__", ""))]

import raysplit


def check_tree() -> None:
    """Raise ``RuntimeError`` where ``raysplit`` is not that of the tree that is being played, in whatever process this
    is imported."""
    wanted = os.environ.get("SAME_BITS_TREE")
    if wanted and not Path(raysplit.__file__).resolve().is_relative_to(Path(wanted).resolve()):
        raise RuntimeError(
            f"raysplit is taken from {raysplit.__file__}, not from the tree {wanted} that is being played"
        )


check_tree()


@functools.cache
def found(name: str) -> Any:
    """The class called ``name`` that ``raysplit`` defines somewhere."""
    package = Path(raysplit.__file__).parent
    for path in sorted(package.rglob("*.py")):
        if re.search(rf"^class {name}\b", path.read_text(encoding="utf-8"), re.MULTILINE):
            parts = path.relative_to(package.parent).with_suffix("").parts
            return getattr(importlib.import_module(".".join(parts)), name)
    raise AttributeError(f"no module of raysplit defines a class {name}")


def contract(name: str) -> type:
    """The base class from which components of a kind derive in a tree that has contracts; ``object`` elsewhere."""
    base: type = found(name)
    return base if "__contract__" in vars(base) else object


@dataclass(frozen=True)
class Blots(contract("PopulationSpec")):  # type: ignore[misc]
    """``clients`` clients with 3 to 8 images of [1, 12, 12] in five classes: a bright band, whose place is the class,
    under noise."""

    clients: int = 12

    def open(self) -> OpenBlots:
        return OpenBlots(self)


class OpenBlots:
    """The population that ``Blots`` describes."""

    def __init__(self, spec: Blots) -> None:
        self.info = found("PopulationInfo")("blots", spec.clients, 5, (1, 12, 12), True, repr(spec))

    def train_sizes(self, clients: np.ndarray) -> np.ndarray:
        return 3 + np.asarray(clients, dtype=np.int64) * 7 % 6

    def test_sizes(self, clients: np.ndarray) -> np.ndarray:
        return 2 + np.asarray(clients, dtype=np.int64) % 3

    def train(self, client: int) -> Any:
        return self._samples(client, int(self.train_sizes(np.array([client]))[0]), 0)

    def test(self, client: int) -> Any:
        return self._samples(client, int(self.test_sizes(np.array([client]))[0]), 1_000_000)

    def _samples(self, client: int, count: int, offset: int) -> Any:
        generator = torch.Generator().manual_seed(offset + client)
        y = torch.randint(0, 5, (count,), generator=generator)
        x = torch.randint(0, 140, (count, 1, 12, 12), generator=generator, dtype=torch.uint8)
        for image, label in zip(x, y.tolist(), strict=True):
            image[0, 2 * label + 1 : 2 * label + 3, 2:10] += 110
        return found("Samples")(x, y)


@dataclass(frozen=True)
class Chains(contract("PopulationSpec")):  # type: ignore[misc]
    """``clients`` clients with a few packed graphs of at most ``nodes`` labelled nodes: chains (class 0) and rings
    (class 1)."""

    clients: int = 4
    nodes: int = 8

    def open(self) -> OpenChains:
        return OpenChains(self)


class OpenChains:
    """The population that ``Chains`` describes: uint8 [n, 1, N, ⌈N/8⌉ + 1], adjacency bits and a label for each
    node."""

    def __init__(self, spec: Chains) -> None:
        self.nodes = spec.nodes
        shape = (1, spec.nodes, -(-spec.nodes // 8) + 1)
        self.info = found("PopulationInfo")("chains", spec.clients, 2, shape, True, repr(spec))

    def train_sizes(self, clients: np.ndarray) -> np.ndarray:
        return 4 + np.asarray(clients, dtype=np.int64)

    def test_sizes(self, clients: np.ndarray) -> np.ndarray:
        return np.full(len(clients), 3, dtype=np.int64)

    def train(self, client: int) -> Any:
        return self._samples(4 + client, client)

    def test(self, client: int) -> Any:
        return self._samples(3, 1000 + client)

    def _samples(self, count: int, seed: int) -> Any:
        rng = np.random.default_rng(seed)
        classes, graphs = [index % 2 for index in range(count)], []
        for ring in classes:
            size = int(rng.integers(3, self.nodes + 1))
            adjacency = np.zeros((self.nodes, self.nodes), dtype=np.uint8)
            for node in range(size if ring else size - 1):
                adjacency[node, (node + 1) % size] = adjacency[(node + 1) % size, node] = 1
            labels = np.zeros((self.nodes, 1), dtype=np.uint8)
            labels[:size, 0] = rng.integers(1, 4, size)
            graphs.append(np.concatenate([np.packbits(adjacency, axis=1), labels], axis=1)[None])
        return found("Samples")(torch.from_numpy(np.stack(graphs)), torch.tensor(classes))
