"""Word vectors in the text form of GloVe (Pennington et al. 2014): a line a word, its numbers behind it, most frequent
words first."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from raysplit.errors import ScenarioError


def read_words(path: Path, count: int | None) -> list[str]:
    """The first ``count`` words of the file (None: all); raises ``ScenarioError`` where it is none or has fewer."""
    return [word for word, _ in _lines(path, count, None)]


def read_vectors(path: Path, count: int, dim: int) -> torch.Tensor:
    """float32 [count, dim], those of the first ``count`` words; raises ``ScenarioError`` for a file without them."""
    try:
        stat = os.stat(path)
    except OSError as error:
        raise ScenarioError(f"there is no file of word vectors {str(path)!r}") from error
    return _vectors(path, count, dim, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=2)
def _vectors(path: Path, count: int, dim: int, size: int, changed: int) -> torch.Tensor:
    """Read once as long as size and time of change stay."""
    return torch.tensor([numbers for _, numbers in _lines(path, count, dim)], dtype=torch.float32)


def _lines(path: Path, count: int | None, dim: int | None) -> Iterator[tuple[str, list[float]]]:
    """Words with their vectors, of ``dim`` numbers; None: of as many as the first has, and they are not read."""
    where = f"word vectors {str(path)!r}"
    number = 0
    try:
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if count is not None and number > count:
                    return
                cells = line.rstrip("\n").rstrip(" ").split(" ")
                if len(cells) < 2 or (dim is not None and len(cells) != dim + 1):
                    wanted = "a word and its numbers" if dim is None else f"a word and {dim} numbers"
                    raise ScenarioError(f"{where}: line {number} has {len(cells)} cells, not {wanted}")
                numbers = [] if dim is None else [float(cell) for cell in cells[1:]]
                if not all(map(math.isfinite, numbers)):
                    raise ScenarioError(f"{where}: line {number} has a number that is not finite")
                yield cells[0], numbers
    except OSError as error:
        raise ScenarioError(f"there is no file of word vectors {str(path)!r}") from error
    except ValueError as error:
        raise ScenarioError(
            f"{where}: line {number + isinstance(error, UnicodeError)} is not a word and its numbers in UTF-8"
        ) from error
    if count is not None and number < count:
        raise ScenarioError(f"{where} are of {number} words, but {count} are asked for")
