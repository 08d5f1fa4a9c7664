"""``synthetic_writers()``: any number of writers of synthetic handwriting, made on demand, nothing on disk.

Labels, sizes, classes and grey levels are FEMNIST's; the images are not data about anybody. A writer is a function
of (seed, writer id) alone, so a population of a million opens at once and its first hundred writers are those of a
population of a hundred.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from raysplit.errors import PopulationError
from raysplit.population.handwriting.hand import CLASSES, choose_labels, draw_hand, write
from raysplit.population.handwriting.ink import SIDE
from raysplit.population.hashing import uniforms
from raysplit.population.invented import check_numbers, check_range, digest_of, held_out, known_ids
from raysplit.population.population import PopulationInfo, PopulationSpec, Samples
from raysplit.rng import stream

GENERATOR = 1
"""Version of the generator: raise it with any change that changes a byte."""

_SMALLEST, _LARGEST = 2.325, 3.41  # sd below and above the mean at which LEAF's user sizes (20 … 530) end


@dataclass(frozen=True)
class SyntheticWriters(PopulationSpec):
    """Which synthetic writers: ``open()`` gives the population.

    ``writers``: how many clients; ``seed``: another seed, other people; ``mean_samples``, ``sd_samples``: images a
    writer, training and test together (LEAF's FEMNIST: 226.83 ± 88.94); ``test_share``: the part of a writer's images
    that is held out, in 0 … 0.9; ``variation``: how much hands and letters differ, 1 being about as hard as FEMNIST
    and 0 printed type; ``skew``: how unevenly a writer's classes are dealt, 0 being equal shares for all writers.
    Raises ``PopulationError`` for values out of range.
    """

    writers: int = 3550
    seed: int = 0
    mean_samples: float = 226.83
    sd_samples: float = 88.94
    test_share: float = 0.1
    variation: float = 1.0
    skew: float = 1.0

    def __post_init__(self) -> None:
        check_numbers("synthetic_writers", self, whole=("writers", "seed"))
        check_range("synthetic_writers", "writers", self.writers, 1, 1 << 40)
        check_range("synthetic_writers", "mean_samples", self.mean_samples, 1, 100_000)
        check_range("synthetic_writers", "sd_samples", self.sd_samples, 0, self.mean_samples)
        check_range("synthetic_writers", "test_share", self.test_share, 0, 0.9)
        check_range("synthetic_writers", "variation", self.variation, 0, 4)
        check_range("synthetic_writers", "skew", self.skew, 0, 4)
        _size_quantiles(self)  # raises where no such sizes exist

    def open(self) -> SyntheticPopulation:
        """The population; immediate, whatever the number of writers."""
        return SyntheticPopulation(self)


def synthetic_writers(
    writers: int = 3550,
    seed: int = 0,
    mean_samples: float = 226.83,
    sd_samples: float = 88.94,
    test_share: float = 0.1,
    variation: float = 1.0,
    skew: float = 1.0,
) -> SyntheticWriters:
    """Synthetic handwriting in FEMNIST's format, by default with LEAF's number and sizes of users."""
    return SyntheticWriters(writers, seed, mean_samples, sd_samples, test_share, variation, skew)


def _size_quantiles(spec: SyntheticWriters) -> np.ndarray:
    """Quantiles at 0, 1/1024 … 1 of a beta distribution with the spec's mean and sd over LEAF's range of sizes."""
    low = max(1.0, spec.mean_samples - _SMALLEST * spec.sd_samples)
    high = spec.mean_samples + _LARGEST * spec.sd_samples
    if spec.sd_samples == 0:
        return np.full(1025, spec.mean_samples)
    mean = (spec.mean_samples - low) / (high - low)
    spread = mean * (1 - mean) / (spec.sd_samples / (high - low)) ** 2 - 1
    a, b = mean * spread, (1 - mean) * spread
    if min(a, b) <= 0:
        raise PopulationError(
            f"synthetic_writers: sd_samples={spec.sd_samples:g} is too large for mean_samples={spec.mean_samples:g}."
        )
    edges = np.linspace(0, 1, 8193)
    middle = (edges[1:] + edges[:-1]) / 2
    log_mass = (a - 1) * np.log(middle) + (b - 1) * np.log1p(-middle)
    mass = np.cumsum(np.exp(log_mass - log_mass.max()))
    return np.asarray(low + (high - low) * np.interp(np.linspace(0, 1, 1025), [0, *(mass / mass[-1])], edges))


class SyntheticPopulation:
    """Open synthetic writers: a ``Population`` that holds nothing per client."""

    def __init__(self, spec: SyntheticWriters) -> None:
        self._spec = spec
        self._quantiles = _size_quantiles(spec)
        self._info = PopulationInfo(
            name="synthetic_writers",
            clients=spec.writers,
            classes=CLASSES,
            shape=(1, SIDE, SIDE),
            synthetic=True,
            digest=digest_of("synthetic-writers", GENERATOR, spec),
            description=f"SYNTHETIC handwriting in FEMNIST's format by {spec.writers} invented writers: "
            "generated pen strokes, not FEMNIST and nobody's data",
        )

    @property
    def info(self) -> PopulationInfo:
        return self._info

    def train_sizes(self, clients: np.ndarray) -> np.ndarray:
        """Training samples of each of ``clients``: int64 [len(clients)]."""
        sizes = self._sizes(clients)
        return sizes - held_out(sizes, self._spec.test_share)

    def test_sizes(self, clients: np.ndarray) -> np.ndarray:
        """Test samples of each of ``clients``: int64 [len(clients)]."""
        return held_out(self._sizes(clients), self._spec.test_share)

    def train(self, client: int) -> Samples:
        """The training set of one writer, x uint8 [n, 1, 28, 28]."""
        return self._samples(client, "train", int(self.train_sizes(np.array([client]))[0]))

    def test(self, client: int) -> Samples:
        """The test set of one writer, x uint8 [n, 1, 28, 28]."""
        return self._samples(client, "test", int(self.test_sizes(np.array([client]))[0]))

    def labels(self, client: int, part: Literal["train", "test"]) -> np.ndarray:
        """The labels of one writer's training or test set, int64 [n], without the images."""
        sizes = self.train_sizes if part == "train" else self.test_sizes
        hand = draw_hand(stream(self._spec.seed, "synthetic hand", client), self._spec.variation, self._spec.skew)
        count = int(sizes(np.array([client]))[0])
        return choose_labels(hand, count, stream(self._spec.seed, f"synthetic {part}", client))

    def _sizes(self, clients: np.ndarray) -> np.ndarray:
        ids = known_ids(clients, self._spec.writers)
        draw = uniforms(self._spec.seed, "synthetic sizes", ids)
        return np.rint(np.interp(draw, np.linspace(0, 1, 1025), self._quantiles)).astype(np.int64)

    def _samples(self, client: int, part: str, count: int) -> Samples:
        spec = self._spec
        hand = draw_hand(stream(spec.seed, "synthetic hand", client), spec.variation, spec.skew)
        images, labels = write(hand, count, stream(spec.seed, f"synthetic {part}", client), spec.variation)
        return Samples(torch.from_numpy(images[:, None]), torch.from_numpy(labels))
