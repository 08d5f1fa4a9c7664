"""What populations that are made up on demand share: numbers in range, ids that exist, samples held out, and a name
for their bytes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from raysplit.errors import PopulationError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def check_numbers(maker: str, spec: DataclassInstance, whole: Collection[str]) -> None:
    """Raise ``PopulationError`` for a field of ``spec`` that is no finite number, or of ``whole`` and no whole one.
    ``maker``: what the user called."""
    for field in fields(spec):
        value = getattr(spec, field.name)
        integral = field.name in whole
        right = isinstance(value, int) if integral else isinstance(value, (int, float)) and math.isfinite(value)
        if isinstance(value, bool) or not right:
            kind = "a whole number" if integral else "a number"
            raise PopulationError(f"{maker}: {field.name} must be {kind}, not {value!r}.")


def check_range(maker: str, name: str, value: float, low: float, high: float) -> None:
    """Raise ``PopulationError`` unless low ≤ value ≤ high."""
    if not low <= value <= high:
        raise PopulationError(f"{maker}: {name} must lie in {low:g} … {high:g}, not {value!r}.")


def known_ids(clients: np.ndarray, count: int) -> np.ndarray:
    """``clients`` as int64 [n]; raises ``PopulationError`` for an id outside [0, count)."""
    ids = np.asarray(clients, dtype=np.int64)
    if len(ids) and not (ids.min() >= 0 and ids.max() < count):
        wrong = ids[(ids < 0) | (ids >= count)][0]
        raise PopulationError(f"Client {wrong} does not exist: the population has {count} clients.")
    return ids


def held_out(sizes: np.ndarray, share: float) -> np.ndarray:
    """How many of each client's samples are test samples, int64 [n]: its share, but one at least where ``share`` is
    above 0 and that leaves something to train on."""
    if share == 0:
        return np.zeros_like(sizes)
    return np.minimum(np.maximum(np.rint(sizes * share).astype(np.int64), 1), sizes - 1)


def digest_of(kind: str, version: int, spec: DataclassInstance) -> str:
    """Names the bytes of a population: of its kind, its generator's version and its numbers."""
    name = f"{kind}:{version}:" + ":".join(
        f"{field.name}={float(getattr(spec, field.name))!r}" for field in fields(spec)
    )
    return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
