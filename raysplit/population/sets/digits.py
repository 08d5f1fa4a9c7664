"""scikit-learn's digits: 1,797 handwritten digits of 8 × 8 pixels (Alpaydin & Kaynak 1998), made when opened.

They come with scikit-learn (``pip install 'raysplit[digits]'``), so nothing is prepared or lies on disk.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from raysplit.errors import PopulationError
from raysplit.population.population import PopulationInfo, PopulationSpec, Samples
from raysplit.rng import stream

STEP = 15
"""The pixels are 0 to 16; a byte is 15 of theirs, so ``byte // 15`` is the pixel again."""


@dataclass(frozen=True)
class Digits(PopulationSpec):
    """Which digits are held out: ``open()`` gives the population, a pool of one client.

    There is no official split: a tenth of each class, rounded, is held out by a stream of ``seed``.
    """

    seed: int = 0

    def __post_init__(self) -> None:
        if type(self.seed) is not int:
            raise PopulationError(f"digits: seed must be a whole number, not {self.seed!r}")

    def open(self) -> OpenDigits:
        """The population; raises ``PopulationError`` where scikit-learn is not installed."""
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise PopulationError(
                "digits() come with scikit-learn, which is not installed here: pip install 'raysplit[digits]'"
            ) from error
        loaded = load_digits()
        return OpenDigits(np.asarray(loaded.images), np.asarray(loaded.target), self.seed)


def digits(seed: int = 0) -> Digits:
    """scikit-learn's digits as a pool: 10 classes, samples uint8 [1, 8, 8], background 0, ink up to 240."""
    return Digits(seed)


class OpenDigits:
    """An open ``Digits``: a ``Population`` of one client, all in memory (115 KB)."""

    def __init__(self, images: np.ndarray, target: np.ndarray, seed: int) -> None:
        """``images``: whole numbers 0 to 16 [n, 8, 8]; ``target``: classes [n]."""
        y = torch.from_numpy(target.astype(np.int64))
        x = torch.from_numpy((images * STEP).astype(np.uint8)[:, None])
        held_out = np.zeros(len(target), dtype=bool)
        for label in range(10):
            of_label = np.flatnonzero(target == label)
            order = stream(seed, "digits split", label).permutation(len(of_label))
            held_out[of_label[order[: (len(of_label) + 5) // 10]]] = True
        test = torch.from_numpy(held_out)
        self._train, self._test = Samples(x[~test], y[~test]), Samples(x[test], y[test])
        digest = hashlib.sha256(b"raysplit digits 1\n")
        for samples in (self._train, self._test):
            digest.update(samples.x.numpy().tobytes() + samples.y.numpy().astype("<i8").tobytes())
        self._info = PopulationInfo(
            name="digits",
            clients=1,
            classes=10,
            shape=(1, 8, 8),
            synthetic=False,
            digest=digest.hexdigest(),
            description=f"scikit-learn's digits, pixels times {STEP}, a tenth of each class held out with seed {seed}, there "
            "being no official split; a pool of one client, to be partitioned",
        )

    @property
    def info(self) -> PopulationInfo:
        return self._info

    def train_sizes(self, clients: np.ndarray) -> np.ndarray:
        """Training samples of each of ``clients``: int64 [len(clients)]."""
        return np.full(len(_checked(clients)), len(self._train.y), dtype=np.int64)

    def test_sizes(self, clients: np.ndarray) -> np.ndarray:
        """Test samples of each of ``clients``: int64 [len(clients)]."""
        return np.full(len(_checked(clients)), len(self._test.y), dtype=np.int64)

    def train(self, client: int) -> Samples:
        """The training digits, as tensors of the caller's own."""
        _checked(np.asarray([client]))
        return Samples(self._train.x.clone(), self._train.y.clone())

    def test(self, client: int) -> Samples:
        """The digits held out, as tensors of the caller's own."""
        _checked(np.asarray([client]))
        return Samples(self._test.x.clone(), self._test.y.clone())


def _checked(clients: np.ndarray) -> np.ndarray:
    if np.any(np.asarray(clients) != 0):
        raise IndexError("client ids must lie in 0..0")
    return clients
