"""How classes and samples lie over the clients of a population, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raysplit.population.partition.pool import Part, labels_of
from raysplit.population.population import Population


def class_counts(population: Population, clients: np.ndarray | None = None, part: Part = "train") -> np.ndarray:
    """Samples by client and class, int64 [clients, classes]; ``clients``: ids, None for all."""
    ids = np.arange(population.info.clients) if clients is None else clients
    counts = np.zeros((len(ids), population.info.classes), dtype=np.int64)
    for row, client in enumerate(ids):
        counts[row] = np.bincount(labels_of(population, int(client), part), minlength=population.info.classes)
    return counts


@dataclass(frozen=True)
class SkewSummary:
    """``size_*``: samples a client (sd of the population); ``classes``: mean number of classes a client has.

    ``distance``: total variation between a client's class mix and that of all clients together, ½ Σ_c |p_kc - p_c|,
    mean over clients with samples; 0: all alike, 1 - p_c: class c only.
    """

    clients: int
    samples: int
    size_mean: float
    size_sd: float
    size_min: int
    size_max: int
    classes: float
    distance: float

    @staticmethod
    def of(counts: np.ndarray) -> SkewSummary:
        """From ``class_counts``."""
        sizes = counts.sum(1)
        held = counts[sizes > 0]
        mixes = held / np.maximum(held.sum(1, keepdims=True), 1)
        pool = counts.sum(0) / max(1, int(sizes.sum()))
        return SkewSummary(
            clients=len(counts),
            samples=int(sizes.sum()),
            size_mean=float(sizes.mean()),
            size_sd=float(sizes.std()),
            size_min=int(sizes.min()),
            size_max=int(sizes.max()),
            classes=float((counts > 0).sum(1).mean()),
            distance=float((np.abs(mixes - pool).sum(1) / 2).mean()) if len(held) else 0.0,
        )

    def __str__(self) -> str:
        return (
            f"{self.samples:,} training samples at {self.clients:,} clients: {self.size_mean:.1f} ± "
            f"{self.size_sd:.1f} a client ({self.size_min:,} to {self.size_max:,}), {self.classes:.1f} classes a "
            f"client, mean total variation distance to the whole {self.distance:.3f}"
        )
