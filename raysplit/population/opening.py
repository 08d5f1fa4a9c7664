"""The border at which populations are opened: one that is not RaySplit's own is held to what ``Population`` says.

A client's weight is what ``train_sizes`` says of it and its gradients come from what ``train`` gives, so that two that
disagree train another experiment than the one that was meant, and nobody would notice.
"""

from __future__ import annotations

import numpy as np
import torch

from raysplit.errors import PopulationError, nearest
from raysplit.parts.ownership import is_raysplits
from raysplit.population.population import Population, PopulationInfo, PopulationSpec, Samples

DTYPES = {"uint8": torch.uint8, "float32": torch.float32}
_MEMBERS = ("info", "train_sizes", "test_sizes", "train", "test")
_CHEAP = ("labels", "views")
"""Ways to one client's labels or rows that a population may have besides (``partition/pool.py``)."""


def open_population(spec: PopulationSpec) -> Population:
    """An open population; one that is not RaySplit's own answers through ``CheckedPopulation``.

    Raises ``PopulationError`` as the spec does, and where what it opens is no ``Population``.
    """
    opened = spec.open()
    return opened if is_raysplits(opened) else CheckedPopulation(opened, type(spec).__name__)


class CheckedPopulation:
    """A ``Population`` that passes a user's own on and raises ``PopulationError`` for the first answer that breaks the
    contract."""

    def __init__(self, population: Population, spec: str) -> None:
        self._population, self._name = population, type(population).__name__
        for member in _MEMBERS:
            if not hasattr(population, member):
                names = [name for name in dir(population) if not name.startswith("_")]
                close = nearest(member, names) if names else ""
                hint = f"; {close}" if close.startswith("did") else ""
                raise PopulationError(
                    f"{spec}.open() must return a Population, with {', '.join(_MEMBERS)}, but the {self._name} that it "
                    f"returned has no {member!r}{hint}"
                )
        self.info = self._checked_info(population.info)
        for name in _CHEAP:
            if hasattr(population, name):
                setattr(self, name, getattr(population, name))

    def train_sizes(self, clients: np.ndarray) -> np.ndarray:
        return self._sizes("train_sizes", clients)

    def test_sizes(self, clients: np.ndarray) -> np.ndarray:
        return self._sizes("test_sizes", clients)

    def train(self, client: int) -> Samples:
        return self._samples("train", client, self._population.train(client))

    def test(self, client: int) -> Samples:
        return self._samples("test", client, self._population.test(client))

    def _checked_info(self, info: PopulationInfo) -> PopulationInfo:
        if not isinstance(info, PopulationInfo):
            raise PopulationError(f"{self._name}.info must be a PopulationInfo, but it is {info!r}")
        counts = all(type(count) is int and count >= 1 for count in (info.clients, info.classes, *info.shape))
        unseen = type(info.unseen) is int and counts and 0 <= info.unseen < info.clients
        if not unseen or type(info.shape) is not tuple or len(info.shape) != 3 or info.dtype not in DTYPES:
            raise PopulationError(
                f"{self._name}.info must have at least 1 client that trains and 1 class, a shape (C, H, W) of whole "
                f"numbers and the dtype 'uint8' or 'float32', but it has clients={info.clients!r}, "
                f"unseen={info.unseen!r}, classes={info.classes!r}, shape={info.shape!r}, dtype={info.dtype!r}"
            )
        return info

    def _sizes(self, name: str, clients: np.ndarray) -> np.ndarray:
        sizes = getattr(self._population, name)(clients)
        integers = isinstance(sizes, np.ndarray) and sizes.dtype.kind in "iu"
        if not integers or sizes.shape != np.shape(clients) or (sizes.size and sizes.min() < 0):
            got = f"{sizes.dtype}{list(sizes.shape)}" if isinstance(sizes, np.ndarray) else f"a {type(sizes).__name__}"
            raise PopulationError(
                f"{self._name}.{name}() must return an array of whole numbers, none below 0, one for each of the "
                f"{len(clients)} clients that it is asked about, but it returned {got}"
            )
        return sizes.astype(np.int64)

    def _samples(self, name: str, client: int, samples: Samples) -> Samples:
        where = f"{self._name}.{name}({client})"
        x, y = samples if isinstance(samples, tuple) and len(samples) == 2 else (None, None)
        shape, dtype = self.info.shape, DTYPES[self.info.dtype]
        if not (isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor)) or not (
            x.dtype == dtype and y.dtype == torch.int64 and y.ndim == 1 and tuple(x.shape) == (len(y), *shape)
        ):
            got = f"x {_described(x)} and y {_described(y)}" if x is not None else f"a {type(samples).__name__}"
            raise PopulationError(
                f"{where} must return Samples with x {dtype} [n, {', '.join(map(str, shape))}], as info says, and y "
                f"torch.int64 [n], but it returned {got}"
            )
        said = int(self._sizes(f"{name}_sizes", np.array([client], dtype=np.int64))[0])
        if len(y) != said:
            raise PopulationError(
                f"{where} returned {len(y)} samples, but {name}_sizes() says {said}; they must agree, because a client "
                "counts by its samples"
            )
        if len(y) and (int(y.min()) < 0 or int(y.max()) >= self.info.classes):
            raise PopulationError(
                f"{where} has labels from {int(y.min())} to {int(y.max())}, but info says {self.info.classes} classes, "
                "counted from 0"
            )
        return Samples(x, y)


def _described(thing: object) -> str:
    return f"{thing.dtype} {list(thing.shape)}" if isinstance(thing, torch.Tensor) else f"a {type(thing).__name__}"
