"""The json files that LEAF's ``preprocess.sh`` leaves, plain or gzipped, one file in memory at a time.

A file holds ``users``, ``num_samples`` and ``user_data[user] = {x, y}``. What ``x`` and ``y`` are is each set's own.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from raysplit.errors import PopulationError
from raysplit.population.arrow_writer import ClientData

Split = Callable[[str, np.ndarray, np.ndarray], ClientData]
"""A user's name and samples → its training and test set."""


@dataclass(frozen=True)
class SampleKind:
    """``noun``: what a sample is called in errors; ``read``: (where, x, y) as json has them → x [n, …] and y int64
    [n].

    ``read`` raises ``PopulationError`` beginning with ``where`` for what it cannot take.
    """

    noun: str
    read: Callable[[str, Any, Any], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class LeafFiles:
    """The json files of a folder. ``test`` is empty when they are not split yet."""

    train: tuple[Path, ...]
    test: tuple[Path, ...]

    @property
    def split(self) -> bool:
        """Whether LEAF has split them."""
        return bool(self.test)


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


def read_leaf(files: LeafFiles, kind: SampleKind, split: Split) -> Iterator[ClientData]:
    """Each user as a client, in the order of the files; ``split`` deals the samples of those that LEAF has not split.

    Where no user is in both folders, LEAF has split by user: the test users come last, without training samples.
    Raises ``PopulationError`` naming the file and the user.
    """
    # The test sets are a tenth of the data, 63 MB for all of FEMNIST: they wait here for their users to come by.
    tests: dict[str, tuple[Path, _User]] = {}
    for file in files.test:
        for user in _read_file(file, kind):
            if user.name in tests:
                _twice(user.name, tests[user.name][0], file)
            tests[user.name] = (file, user)
    test_users = len(tests)
    seen: dict[str, Path] = {}
    for file in files.train:
        for user in _read_file(file, kind):
            if user.name in seen:
                _twice(user.name, seen[user.name], file)
            seen[user.name] = file
            if not len(user.y):
                raise PopulationError(f"{str(file)!r}: user {user.name!r} has no samples; leave the user out")
            if not files.test:
                yield split(user.name, user.x, user.y)
                continue
            _, test = tests.pop(user.name, (file, _User(user.name, user.x[:0], user.y[:0])))
            yield ClientData(user.name, user.x, user.y, test.x, test.y)
    for name, (file, test) in tests.items():
        if len(tests) < test_users:
            raise PopulationError(
                f"{str(file)!r}: user {name!r} has a test set, but is in no file of {str(files.train[0].parent)!r}; "
                "take both folders from one run of LEAF's preprocess.sh"
            )
        yield ClientData(name, test.x[:0], test.y[:0], test.x, test.y)


class _User(NamedTuple):
    """``x`` [n, …]; ``y`` int64 [n]."""

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


def _read_file(file: Path, kind: SampleKind) -> Iterator[_User]:
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
        x, y = kind.read(where, ours["x"], ours["y"])
        if type(count) is not int or not len(x) == len(y) == count:
            raise PopulationError(
                f"{where} has {len(x)} {kind.noun} and {len(y)} labels, but 'num_samples' says {count!r}; "
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
    raise ValueError(f"{text} is no number of LEAF's")


def _json_files(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        return ()
    found = [file for file in folder.iterdir() if file.name.endswith((".json", ".json.gz"))]
    return tuple(sorted(found, key=lambda file: ([int(part) for part in re.findall(r"\d+", file.name)], file.name)))


def _twice(user: str, first: Path, second: Path) -> NoReturn:
    where = f"twice in {str(first)!r}" if first == second else f"in {str(first)!r} and again in {str(second)!r}"
    raise PopulationError(f"user {user!r} stands {where}; each user may have one training and one test set")
