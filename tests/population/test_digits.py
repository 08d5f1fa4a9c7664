"""scikit-learn's digits: every pixel comes back, and the sentence where scikit-learn is not installed."""

from __future__ import annotations

import builtins
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from raysplit.errors import PopulationError
from raysplit.population.population import Population, PopulationSpec
from raysplit.population.sets.digits import STEP, Digits, digits


def stand_in(monkeypatch: pytest.MonkeyPatch, count: int = 200) -> SimpleNamespace:
    """A module that looks like scikit-learn and holds made-up digits of its kind."""
    rng = np.random.default_rng(0)
    made = SimpleNamespace(images=rng.integers(0, 17, (count, 8, 8)).astype(np.float64), target=np.arange(count) % 10)
    package, datasets = ModuleType("sklearn"), ModuleType("sklearn.datasets")
    datasets.load_digits = lambda: made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sklearn", package)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", datasets)
    return made


def expect_all(population: Population, images: np.ndarray, target: np.ndarray) -> None:
    parts = [population.train(0), population.test(0)]
    got = sorted((x.numpy()[0] // STEP).tobytes() + bytes([int(y)]) for p in parts for x, y in zip(*p, strict=True))
    assert got == sorted(
        image.astype(np.uint8).tobytes() + bytes([int(y)]) for image, y in zip(images, target, strict=True)
    )
    assert all((p.x % STEP == 0).all() and int(p.x.max()) == 240 for p in parts)


def test_every_pixel_comes_back_and_a_tenth_of_each_class_is_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    made = stand_in(monkeypatch)
    population: Population = digits().open()
    expect_all(population, made.images, made.target)
    assert np.bincount(population.test(0).y).tolist() == [2] * 10
    info = population.info
    assert (info.clients, info.classes, info.shape, info.dtype) == (1, 10, (1, 8, 8), "uint8")
    assert population.train_sizes(np.array([0, 0])).tolist() == [180, 180]
    assert population.test_sizes(np.array([], dtype=np.int64)).shape == (0,)
    with pytest.raises(IndexError):
        population.train(1)


def test_the_real_digits() -> None:
    datasets = pytest.importorskip("sklearn.datasets", reason="needs scikit-learn: pip install 'raysplit[digits]'")
    loaded = datasets.load_digits()
    population = digits().open()
    expect_all(population, loaded.images, loaded.target)
    assert len(population.train(0).y) + len(population.test(0).y) == 1797


def test_the_spec_is_a_value_and_the_seed_moves_the_split(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    assert isinstance(digits(), PopulationSpec) and digits(3) == Digits(3) and hash(digits(3)) == hash(Digits(3))
    one, same, other = digits(0).open(), digits(0).open(), digits(1).open()
    assert one.info.digest == same.info.digest != other.info.digest
    one.train(0).x.zero_()
    assert np.array_equal(one.train(0).x, same.train(0).x), "tensors are the caller's own"
    with pytest.raises(PopulationError, match="seed must be a whole number"):
        digits("0")  # type: ignore[arg-type]


def test_without_scikit_learn_the_sentence_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name.startswith("sklearn"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(PopulationError, match=r"pip install 'raysplit\[digits\]'"):
        digits().open()
