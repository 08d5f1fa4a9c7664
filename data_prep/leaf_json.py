"""FEMNIST from the json files that LEAF's ``preprocess.sh`` leaves, plain or gzipped, one file in memory at a time.

A file holds ``users``, ``num_samples`` and ``user_data[user] = {x, y}``, where a row of ``x`` is 784 numbers k/255.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from data_prep.split import split_client
from raysplit.errors import PopulationError
from raysplit.population.arrow_writer import ClientData

SIDE = 28
CLASSES = 62


@dataclass(frozen=True)
class LeafFiles:
    """The json files of a folder. ``test`` is empty when they are not split yet."""

    train: tuple[Path, ...]
    test: tuple[Path, ...]


def find_leaf_files(folder: Path) -> LeafFiles | None:
    """LEAF's json in ``folder``: split (``train/``, ``test/``), or whole (``all_data/`` or directly); else None."""
    for place in (folder, folder / "data"):
        train, test = _json_files(place / "train"), _json_files(place / "test")
        if bool(train) != bool(test):
            lacking = "test" if train else "train"
            raise PopulationError(
                f"{str(place)!r} has half of a LEAF split: there is no json in its folder {lacking!r}"
            )
        if train:
            return LeafFiles(train, test)
        if whole := _json_files(place / "all_data") or _json_files(place):
            return LeafFiles(whole, ())
    return None


def read_leaf(files: LeafFiles, *, seed: int) -> Iterator[ClientData]:
    """Each user as a client, in the order of the files; ``seed`` splits those that LEAF has not split.

    Pixels are uint8 [n, 1, 28, 28], exactly 255 times the numbers in the json. Raises ``PopulationError`` naming the
    file and the user.
    """
    # The test sets are a tenth of the data, 63 MB for all of FEMNIST: they wait here for their users to come by.
    tests: dict[str, tuple[Path, _User]] = {}
    for file in files.test:
        for user in _read_file(file):
            if user.name in tests:
                _twice(user.name, tests[user.name][0], file)
            tests[user.name] = (file, user)
    seen: dict[str, Path] = {}
    for file in files.train:
        for user in _read_file(file):
            if user.name in seen:
                _twice(user.name, seen[user.name], file)
            seen[user.name] = file
            if not len(user.y):
                raise PopulationError(f"{str(file)!r}: user {user.name!r} has no samples; leave the user out")
            if not files.test:
                yield split_client(user.name, user.x, user.y, seed=seed)
                continue
            _, test = tests.pop(user.name, (file, _User(user.name, user.x[:0], user.y[:0])))
            yield ClientData(user.name, user.x, user.y, test.x, test.y)
    for name, (file, _) in tests.items():
        raise PopulationError(
            f"{str(file)!r}: user {name!r} has a test set, but is in no file of {str(files.train[0].parent)!r}; "
            "take both folders from one run of LEAF's preprocess.sh"
        )


class _User(NamedTuple):
    """``x`` uint8 [n, 1, 28, 28]; ``y`` int64 [n]."""

    name: str
    x: np.ndarray
    y: np.ndarray


class _Numbers(dict[str, float]):
    """Each number's text parsed once: a file has millions of pixels and 256 values, so they share their floats."""

    def __missing__(self, text: str) -> float:
        value = float(text)
        # A file of arbitrary numbers is not LEAF's and is about to be refused; it need not fill the memory first.
        if len(self) < 4096:
            self[text] = value
        return value


def _read_file(file: Path) -> Iterator[_User]:
    content = _load(file)
    if not isinstance(content, dict) or not {"users", "num_samples", "user_data"} <= content.keys():
        lacking = {"users", "num_samples", "user_data"} - (content.keys() if isinstance(content, dict) else set())
        raise PopulationError(f"{str(file)!r} is not LEAF's json: it lacks {', '.join(map(repr, sorted(lacking)))}")
    users, counts, data = content["users"], content["num_samples"], content["user_data"]
    kinds = isinstance(users, list) and isinstance(counts, list) and isinstance(data, dict)
    if not kinds or not all(isinstance(user, str) for user in users) or len(users) != len(counts):
        raise PopulationError(
            f"{str(file)!r} is not LEAF's json: 'users' and 'num_samples' must be lists of one length, "
            "'user_data' an object"
        )
    if left := sorted(data.keys() - set(users)):
        raise PopulationError(f"{str(file)!r}: user {left[0]!r} has data, but is not listed in 'users'")
    for user, count in zip(users, counts, strict=True):
        where = f"{str(file)!r}: user {user!r}"
        ours = data.get(user)
        if not isinstance(ours, dict) or not {"x", "y"} <= ours.keys():
            raise PopulationError(f"{where} has no 'x' and 'y' in 'user_data'")
        y = _labels(where, ours["y"])
        x = _pixels(where, ours["x"])
        if type(count) is not int or not len(x) == len(y) == count:
            raise PopulationError(
                f"{where} has {len(x)} images and {len(y)} labels, but 'num_samples' says {count!r}; "
                "the three must agree"
            )
        yield _User(user, x, y)


def _load(file: Path) -> Any:
    try:
        opener = gzip.open if file.suffix == ".gz" else open
        with opener(file, "rt", encoding="utf-8") as text:
            return json.load(text, parse_float=_Numbers().__getitem__, parse_constant=_no_constant)
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:160].rstrip(".")
        raise PopulationError(f"{str(file)!r} is not readable json ({reason}); copy or download it again") from error


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a pixel")


def _labels(where: str, values: Any) -> np.ndarray:
    if not isinstance(values, list):
        raise PopulationError(f"{where} has labels that are not a list")
    for place, value in enumerate(values):
        if type(value) is not int or not 0 <= value < CLASSES:
            raise PopulationError(f"{where} has the label {value!r} at sample {place}, not a class in 0..{CLASSES - 1}")
    return np.asarray(values, dtype=np.int64)


def _pixels(where: str, rows: Any) -> np.ndarray:
    size = SIDE * SIDE
    if not isinstance(rows, list):
        raise PopulationError(f"{where} has images that are not a list")
    for place, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != size:
            count = len(row) if isinstance(row, list) else "no list of"
            raise PopulationError(f"{where} has {count} pixels in image {place}, not {size}")
    if not rows:
        return np.empty((0, 1, SIDE, SIDE), dtype=np.uint8)
    try:
        values = np.asarray(rows)
    except ValueError:
        values = np.asarray([])
    if values.dtype.kind not in "fiu" or values.shape != (len(rows), size):
        raise PopulationError(f"{where} has pixels that are not numbers")
    scaled = values.astype(np.float64) * 255.0
    scaled[~np.isfinite(scaled)] = -1.0
    whole = np.rint(scaled)
    # k/255 in float64 comes back to k within 1e-13; the tolerance is for files that were written with fewer digits.
    wrong = ~((whole >= 0) & (whole <= 255) & (np.abs(scaled - whole) < 1e-3))
    if wrong.any():
        image, pixel = (int(index) for index in np.argwhere(wrong)[0])
        raise PopulationError(
            f"{where} has the pixel {values[image, pixel]!s} (image {image}, pixel {pixel}), "
            "not k/255 for a whole k in 0..255"
        )
    return whole.astype(np.uint8).reshape(-1, 1, SIDE, SIDE)


def _json_files(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        return ()
    found = [file for file in folder.iterdir() if file.name.endswith((".json", ".json.gz"))]
    return tuple(sorted(found, key=lambda file: ([int(part) for part in re.findall(r"\d+", file.name)], file.name)))


def _twice(user: str, first: Path, second: Path) -> NoReturn:
    where = f"twice in {str(first)!r}" if first == second else f"in {str(first)!r} and again in {str(second)!r}"
    raise PopulationError(f"user {user!r} stands {where}; each user may have one training and one test set")
